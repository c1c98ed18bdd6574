"""Write runs to MLflow: one parent run per state of the pipeline, a child run per executed stage; and others.

A state is all that the results depend on (`chestxray.tracking.state`). Nothing else writes runs. What the parent
says of the results is in `chestxray.tracking.pipeline_record`.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as Entity

from chestxray.params import Params
from chestxray.tracking.nested import Nested, flatten
from chestxray.tracking.pipeline_name import pipeline_name
from chestxray.tracking.process import is_gone, this_process
from chestxray.tracking.repository import git_commit
from chestxray.tracking.state import pipeline_state
from chestxray.tracking.store import experiment_id, open_store, server_errors, store_lock

# Tags of runs.
STATE = "chestxray.state"
STAGE = "chestxray.stage"
PROCESS = "chestxray.process"
EXPERIMENT_OF_DVC = "dvc.experiment"
PARENT = "mlflow.parentRunId"
SOURCE = "mlflow.source.name"
KIND_OF_SOURCE = "mlflow.source.type"
COMMIT = "mlflow.source.git.commit"

MOST_RUNS = 1000


class Run:
    """An MLflow run to write to."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    def log_params(self, params: Nested) -> None:
        """Log nested params under dotted keys; a run's params never change, so those it has are left alone."""
        known = self.client.get_run(self.run_id).data.params
        flat = {key: value for key, value in flatten(params).items() if key not in known}
        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in flat.items()])

    def log_metrics(self, metrics: Nested, step: int = 0) -> None:
        """Log nested metrics in MLflow's groups, `test/mean_auroc`; what isn't a finite number is left out."""
        flat = flatten(metrics, "/").items()
        numbers = {key: float(value) for key, value in flat if isinstance(value, int | float)}
        now = int(1000 * time.time())  # of two values of a metric at the same step, MLflow shows the newer
        finite = [Metric(key, value, now, step) for key, value in numbers.items() if abs(value) < float("inf")]
        self.client.log_batch(self.run_id, metrics=finite)

    def log_curve(self, curve: pd.DataFrame, group: str, step: str) -> None:
        """Log the rows of a table as metrics of steps, such as epochs, which the column `step` counts."""
        for row in curve.to_dict("records"):
            self.log_metrics({group: {str(key): value for key, value in row.items() if key != step}}, int(row[step]))

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags for a person to filter by."""
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or all files of a folder."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)


@contextmanager
def stage_run(stage: str, params: Params, batch: str | None = None) -> Iterator[Run]:
    """Record a stage as a child run while the block runs; how the block ends is how this run and its parent end.

    Runs of stages that were killed, and could not say so, are ended first.

    Args:
        stage: name of the stage, and of its section in `params`.
        params: the whole of `params.yaml`.
        batch: the batch, for stages that run once per batch.
    """
    client = open_store()
    with server_errors(client.tracking_uri):
        end_killed_runs(client)
        parent = pipeline_run(client, params)
        name = stage if batch is None else f"{stage}@{batch}"
        tags = {PARENT: parent.run_id, STAGE: name, PROCESS: this_process(), **_source(f"stages/{stage}.py")}
        run = Run(client, client.create_run(experiment_id(client), run_name=name, tags=tags).info.run_id)
        parent.log_tags({PROCESS: this_process()})
        client.update_run(parent.run_id, "RUNNING")
        run.log_params({stage: params.model_dump(mode="json", by_alias=True).get(stage, {})})

        def end(status: str) -> None:
            client.set_terminated(run.run_id, status)
            _end_parent(client, parent.run_id, status)

        with _said_how_it_ended(end):
            yield run


@contextmanager
def own_run(name: str, source: str, parent: Run | None = None) -> Iterator[Run]:
    """Record what is no stage as a run while the block runs; how the block ends is how the run ends.

    Args:
        name: of the run, for people.
        source: what makes it, such as "chestxray sweep".
        parent: the run that it is a part of, if it is.
    """
    client = parent.client if parent else open_store()
    with server_errors(client.tracking_uri):
        tags = {PROCESS: this_process(), **_source(source)} | ({PARENT: parent.run_id} if parent else {})
        run = Run(client, client.create_run(experiment_id(client), run_name=name, tags=tags).info.run_id)
        with _said_how_it_ended(partial(client.set_terminated, run.run_id)):
            yield run


@contextmanager
def _said_how_it_ended(end: Callable[[str], None]) -> Iterator[None]:
    """Call a function with the status of the block: whatever ends it, SystemExit too, the run must not look alive."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        end(status)


def pipeline_run(client: MlflowClient, params: Params) -> Run:
    """Return the parent run of this state of the pipeline: the one there is, or a new one."""
    state = pipeline_state(params)
    with store_lock(client.tracking_uri, "runs"):
        experiment = experiment_id(client)
        found = client.search_runs([experiment], f"tags.`{STATE}` = '{state}'", max_results=1)
        if found:
            return Run(client, found[0].info.run_id)
        tags = {STATE: state, **_source("dvc.yaml")}
        if "DVC_EXP_NAME" in os.environ:
            tags[EXPERIMENT_OF_DVC] = os.environ["DVC_EXP_NAME"]
        run = client.create_run(experiment, run_name=pipeline_name(params), tags=tags)
        client.set_terminated(run.info.run_id, "FINISHED", run.info.start_time)
        return Run(client, run.info.run_id)


def end_killed_runs(client: MlflowClient) -> None:
    """End the runs whose processes are gone: MLflow would show them as running for ever.

    Those of another machine are left alone. Runs of older code don't name their process; one that does live says how it
    ended when it ends.
    """
    running = client.search_runs([experiment_id(client)], "attributes.status = 'RUNNING'", max_results=MOST_RUNS)
    killed = [run for run in running if _is_killed(run)]
    for run in killed:
        client.update_run(run.info.run_id, "KILLED")  # without an end: when it was killed is not known
    of_pipelines = (run for run in killed if not {STATE, STAGE}.isdisjoint(run.data.tags))
    for parent in {run.data.tags.get(PARENT, run.info.run_id) for run in of_pipelines}:
        _end_parent(client, parent, "KILLED")


def _is_killed(run: Entity) -> bool:
    return PROCESS not in run.data.tags or is_gone(run.data.tags[PROCESS], run.info.start_time / 1000)


def _end_parent(client: MlflowClient, parent: str, status: str) -> None:
    """End the pipeline's run as its latest stage ended, so that it has lasted as long as its stages, each run once."""
    start = client.get_run(parent).info.start_time
    children = client.search_runs(
        [experiment_id(client)], f"tags.`{PARENT}` = '{parent}'", max_results=MOST_RUNS, order_by=["start_time"]
    )
    latest = {run.data.tags.get(STAGE): run.info for run in children if run.info.end_time}
    work = sum(info.end_time - info.start_time for info in latest.values())
    client.set_terminated(parent, status, start + work)


def _source(file: str) -> dict[str, str]:
    return {SOURCE: file, KIND_OF_SOURCE: "LOCAL", COMMIT: git_commit().removesuffix("+changes")}
