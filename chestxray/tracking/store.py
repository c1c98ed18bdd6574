"""Open the MLflow store and lock it, so that processes write to it one after the other."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from chestxray.errors import UserError, masked
from chestxray.tracking.repository import repository

EXPERIMENT = "chest-xray"
SQLITE = "sqlite:///"
RETRIES = "3"
"""Of a request to a server, unless set otherwise: with MLflow's seven, one that is down is four minutes of silence."""


def open_store() -> MlflowClient:
    """Open the store that `MLFLOW_TRACKING_URI` names; by default the repository's own, `.mlflow/mlflow.db`.

    Raises:
        UserError: it can't be locked (`store_lock`), or not opened: a server that does not answer, a damaged database.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each small file
    folder = repository().resolve() / ".mlflow"
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        folder.mkdir(exist_ok=True)
        uri = f"{SQLITE}{folder / 'mlflow.db'}"
    with store_lock(uri, "runs"):  # MLflow lets two processes make the tables of a new store at once, and fails
        try:
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
        except Exception as error:  # of MLflow, SQLAlchemy, Alembic, or a database's driver that is not installed
            raise _not_opened(uri, error) from error
    return client


@contextmanager
def store_lock(uri: str, part: str) -> Iterator[None]:
    """Let one process at a time read and write a part of a store; the others log that they wait, and wait.

    A store on a server is not locked; see docs/decisions/mlflow-store.md.

    Args:
        uri: of the store.
        part: of it, such as "runs"; other parts stay free.

    Raises:
        UserError: the lock, a file beside the store, can't be written.
    """
    store = _sqlite_file(uri)
    with _acquired(FileLock(f"{store}.{part}.lock")) if store else nullcontext():
        yield


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the project's experiment, which is made if there is none."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    file = _sqlite_file(client.tracking_uri)
    location = (file.parent / "artifacts").as_uri() if file else None  # without a server, artifacts lie beside it
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location))
    except MlflowException:
        # Another process was first.
        return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite store, the same one for all ways to write it; None for a store on a server."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).resolve() if uri.startswith(SQLITE) else None


def _acquired(lock: FileLock) -> AbstractContextManager[object]:
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logging.getLogger(__name__).warning("waiting for %s: another process is at work in the store", lock.lock_file)
        return lock.acquire()
    except OSError as error:
        raise UserError(
            f"the MLflow store can't be locked with {lock.lock_file}: {error}. Its folder must be writable, even to "
            "read the store: give write access to it, or name another store in MLFLOW_TRACKING_URI"
        ) from error


def _not_opened(uri: str, error: Exception) -> UserError:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    said = (
        f"the MLflow store {uri} can't be opened: {reason}. Check that its server answers or that its file is a whole "
        "database, or name another store in MLFLOW_TRACKING_URI"
    )
    return UserError(masked(said, uri))
