"""The only writer of MLflow runs: one parent run per state of the pipeline, a child run per executed stage.

A state is everything that the results depend on: params, code, and the tables and notices of batches from outside.
"""

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from chestxray.batch_layout import (
    BOXES,
    OLD_TABLE,
    PHANTOM_ROOT,
    SYNTHETIC_NOTICE,
    TABLE,
    TEST_LIST,
    UNLABELLED_NOTICE,
    UPDATE_ROOT,
)
from chestxray.params import Params

EXPERIMENT = "chest-xray"
STATE = "chestxray.state"
STAGE = "chestxray.stage"
PARENT = "mlflow.parentRunId"
SQLITE = "sqlite:///"
OUTSIDE = (TABLE, OLD_TABLE, BOXES, TEST_LIST, SYNTHETIC_NOTICE, UNLABELLED_NOTICE)
"""Files of a batch, beside its images, that results depend on."""

Nested = Mapping[str, Any]


class Run:
    """An MLflow run to write to."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def log_params(self, params: Nested) -> None:
        """Nested params, flattened to dotted keys; a run's params never change, so those it has are left alone."""
        known = self.client.get_run(self.run_id).data.params
        flat = {key: value for key, value in flatten(params).items() if key not in known}
        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in flat.items()])

    def log_metrics(self, metrics: Nested, step: int = 0) -> None:
        """Nested metrics, flattened to dotted keys; what isn't a finite number is left out."""
        numbers = {key: float(value) for key, value in flatten(metrics).items() if isinstance(value, int | float)}
        now = int(1000 * time.time())  # of two values of a metric at the same step, MLflow shows the newer
        finite = [Metric(key, value, now, step) for key, value in numbers.items() if abs(value) < float("inf")]
        self.client.log_batch(self.run_id, metrics=finite)

    def log_curve(self, curve: pd.DataFrame, step: str) -> None:
        """A row per step, such as an epoch, which the column `step` counts."""
        for row in curve.to_dict("records"):
            self.log_metrics({str(key): value for key, value in row.items() if key != step}, int(row[step]))

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Tags for a person to filter by."""
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, or all files of a folder."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)


def repository() -> Path:
    """The top of the repository, also when DVC runs a stage elsewhere."""
    return Path(os.environ.get("DVC_ROOT", Path(__file__).parents[2]))


def open_store() -> MlflowClient:
    """The store that `MLFLOW_TRACKING_URI` names; by default the repository's own, `.mlflow/mlflow.db`.

    Raises:
        OSError: it can't be locked (`one_at_a_time`).
    """
    folder = repository().resolve() / ".mlflow"
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        folder.mkdir(exist_ok=True)
        uri = f"{SQLITE}{folder / 'mlflow.db'}"
    with one_at_a_time(uri, "runs"):  # MLflow lets two processes make the tables of a new store at once, and fails
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def one_at_a_time(uri: str, what: str) -> Iterator[None]:
    """Lets one process at a time find out what a store holds and write to it; the others say so and wait.

    Beside an SQLite store lies a file for it, which the system unlocks when its holder is killed. A store on a server
    can't be locked from here: two processes may then each make a run of the same state, and only the registry takes
    its doubles back (`registry.register`).

    Args:
        uri: of the store.
        what: of it, such as "runs"; other parts stay free.

    Raises:
        OSError: the file beside the store can't be written.
    """
    store = _store_file(uri)
    with _acquired(FileLock(f"{store}.{what}.lock")) if store else nullcontext():
        yield


@contextmanager
def stage_run(stage: str, params: Params, batch: str | None = None) -> Iterator[Run]:
    """The child run of a stage that is executing; failed when the stage fails, and it alone.

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
    """The parent run of this state of the pipeline: the one there is, or a new one."""
    state = pipeline_state(params)
    with one_at_a_time(client.tracking_uri, "runs"):
        experiment = _experiment(client)
        found = client.search_runs([experiment], f"tags.`{STATE}` = '{state}'", max_results=1)
        if found:
            return Run(client, found[0].info.run_id)
        run = client.create_run(experiment, run_name=f"pipeline {state[:8]}", tags={STATE: state})
        client.set_terminated(run.info.run_id, "FINISHED")
        return Run(client, run.info.run_id)


def log_pipeline(run: Run, params: Params, reports: Path, card: Nested) -> None:
    """The full record of the pipeline's run: params, final metrics, tables, figures, digests.

    Args:
        run: the parent.
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


def pipeline_state(params: Params) -> str:
    """SHA-256 over params, code, and the tables and notices of the batches that no stage makes."""
    digest = hashlib.sha256(params.model_dump_json(by_alias=True).encode())
    top = repository()
    code = [
        top / "dvc.yaml",
        *(file for folder in ("chestxray", "stages") for file in sorted((top / folder).rglob("*.py"))),
    ]
    # The phantom batches are made by a stage, from params that are in the digest already.
    outside = [top / batch.root for batch in params.batches.values() if batch.root not in (PHANTOM_ROOT, UPDATE_ROOT)]
    for file in (*code, *(root / name for root in outside for name in OUTSIDE)):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def git_commit() -> str:
    """The commit that is checked out, with `+changes` where files differ from it; "unknown" outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def flatten(nested: Nested, prefix: str = "") -> dict[str, Any]:
    """Dotted keys for nested ones: {"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _store_file(uri: str) -> Path | None:
    """The file of an SQLite store, the same one for all ways to write it; None for a store on a server."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).resolve() if uri.startswith(SQLITE) else None


def _acquired(lock: FileLock) -> AbstractContextManager[object]:
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logging.getLogger(__name__).warning("waiting for %s: another process is at work in the store", lock.lock_file)
        return lock.acquire()
    except OSError as error:
        raise OSError(
            f"the MLflow store can't be locked with {lock.lock_file}: {error}. Its folder must be writable, even to "
            "read the store: give write access to it, or name another store in MLFLOW_TRACKING_URI"
        ) from error


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    file = _store_file(client.tracking_uri)
    location = (file.parent / "artifacts").as_uri() if file else None  # without a server, artifacts lie beside it
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))
    except MlflowException:
        # Another process was first.
        return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository(), check=True, capture_output=True, text=True)
    return done.stdout.strip()
