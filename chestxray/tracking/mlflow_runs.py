"""Record the pipeline in MLflow: one parent run per state of the pipeline, a child run per executed stage.

A state is all that the results depend on (`chestxray.tracking.state`). Nothing else writes runs.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from chestxray.params import Params
from chestxray.tracking.repository import git_commit, repository
from chestxray.tracking.state import pipeline_state
from chestxray.tracking.store import experiment_id, open_store, store_lock

# Tags of runs.
STATE = "chestxray.state"
STAGE = "chestxray.stage"
PARENT = "mlflow.parentRunId"

Nested = Mapping[str, Any]


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
        """Log nested metrics under dotted keys; what isn't a finite number is left out."""
        numbers = {key: float(value) for key, value in flatten(metrics).items() if isinstance(value, int | float)}
        now = int(1000 * time.time())  # of two values of a metric at the same step, MLflow shows the newer
        finite = [Metric(key, value, now, step) for key, value in numbers.items() if abs(value) < float("inf")]
        self.client.log_batch(self.run_id, metrics=finite)

    def log_curve(self, curve: pd.DataFrame, step: str) -> None:
        """Log the rows of a table as metrics of steps, such as epochs, which the column `step` counts."""
        for row in curve.to_dict("records"):
            self.log_metrics({str(key): value for key, value in row.items() if key != step}, int(row[step]))

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
    """Record a stage as a child run while the block runs; a block that fails marks this run as failed, no other.

    Args:
        stage: name of the stage, and of its section in `params`.
        params: the whole of `params.yaml`.
        batch: the batch, for stages that run once per batch.
    """
    client = open_store()
    parent = pipeline_run(client, params)
    experiment = client.get_run(parent.run_id).info.experiment_id
    name = stage if batch is None else f"{stage}@{batch}"
    info = client.create_run(experiment, run_name=name, tags={PARENT: parent.run_id, STAGE: name}).info
    run = Run(client, info.run_id)
    sections = params.model_dump(mode="json", by_alias=True)
    run.log_params({stage: sections.get(stage, {})})
    try:
        yield run
    except KeyboardInterrupt:
        client.set_terminated(info.run_id, "KILLED")
        raise
    except BaseException:  # whatever ended the stage goes on, SystemExit too; the run must not look alive
        client.set_terminated(info.run_id, "FAILED")
        raise
    client.set_terminated(info.run_id, "FINISHED")


def pipeline_run(client: MlflowClient, params: Params) -> Run:
    """Return the parent run of this state of the pipeline: the one there is, or a new one."""
    state = pipeline_state(params)
    with store_lock(client.tracking_uri, "runs"):
        experiment = experiment_id(client)
        found = client.search_runs([experiment], f"tags.`{STATE}` = '{state}'", max_results=1)
        if found:
            return Run(client, found[0].info.run_id)
        run = client.create_run(experiment, run_name=f"pipeline {state[:8]}", tags={STATE: state})
        client.set_terminated(run.info.run_id, "FINISHED")
        return Run(client, run.info.run_id)


def log_pipeline(run: Run, params: Params, reports: Path, card: Nested) -> None:
    """Log the full record of the pipeline to its run: params, final metrics, tables, figures, digests.

    Args:
        run: the parent.
        params: of this state.
        reports: folder of the reports.
        card: content of `bundle.json`.
    """
    run.log_params(params.model_dump(mode="json", by_alias=True))
    for name in ("metrics", "train", "fine_tune", "class_weights"):
        metrics = json.loads((reports / f"{name}.json").read_text(encoding="utf-8"))
        run.log_metrics({name: metrics} if name == "class_weights" else metrics)
    for pattern in ("*.json", "*.csv", "*.png", "curves/*.csv", "gradcam/overview.png", "gradcam/index.csv"):
        for file in sorted(reports.glob(pattern)):
            run.log_artifact(file, "/".join(file.relative_to(reports).parent.parts) or None)
    lock = repository() / "dvc.lock"
    run.log_tags(
        {
            "data": "synthetic" if card["synthetic"] else "real",
            "data_sha256": card["data_sha256"],
            "model_sha256": card["model_sha256"],
            "git_commit": git_commit(),
            "dvc_lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "none",
        }
    )


def flatten(nested: Nested, prefix: str = "") -> dict[str, Any]:
    """Replace nested keys by dotted ones: {"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
