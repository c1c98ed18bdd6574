"""Open the MLflow store and lock it, so that processes write to it one after the other."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from chestxray.errors import UserError, masked
from chestxray.tracking.repository import repository

EXPERIMENT = "chest-xray"
SQLITE = "sqlite:///"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""With a server, unless set otherwise: by MLflow's own four minutes of silence where one is down, 16 where it hangs."""
SERVER = ("http://", "https://")
MENDS = {
    "401": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user that it knows",
    "403": "its administrator can give this user the right to it (docs/remotes.md)",
}


def open_store() -> MlflowClient:
    """Open the store that `MLFLOW_TRACKING_URI` names; by default the repository's own, `.mlflow/mlflow.db`.

    Raises:
        UserError: it can't be locked (`store_lock`), or not opened: a server that does not answer, a damaged database.
    """
    folder = repository().resolve() / ".mlflow"
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        folder.mkdir(exist_ok=True)
        uri = f"{SQLITE}{folder / 'mlflow.db'}"
    with store_lock(uri, "runs"):  # MLflow lets two processes make the tables of a new store at once, and fails
        try:
            client = connect(uri)
            client.search_experiments(max_results=1)
        except Exception as error:  # of MLflow, SQLAlchemy, Alembic, or a database's driver that is not installed
            raise _not_opened(uri, error) from error
    return client


def connect(uri: str) -> MlflowClient:
    """Return the client of a store, which gives up on a server after about two minutes; asks it for nothing yet.

    MLflow prints the address of runs: user and password of a server's go to where MLflow looks for them besides.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each small file
    parts = urlsplit(uri) if uri.startswith(SERVER) else None
    if parts and parts.username is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        uri = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        os.environ["MLFLOW_TRACKING_URI"] = uri  # artifacts are fetched from it without the client
    return MlflowClient(uri)


@contextmanager
def server_errors(uri: str) -> Iterator[None]:
    """Raise what a server refuses, and its silence, as an error that says how to mend it.

    Raises:
        UserError: the server of this address did not answer, or not as asked.
    """
    try:
        yield
    except MlflowException as error:
        if not error.message.startswith("API request to "):  # MLflow's words for what fails on the way
            raise
        mend = _mend(error) or "check that it answers, then run the same again"
        raise UserError(masked(f"the MLflow server {uri}: {_first_line(error)}; {mend}", uri)) from error


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
    known = _mend(error) if uri.startswith(SERVER) else None
    mend = known or "check that its server answers or that its file is a whole database"
    said = f"the MLflow store {uri} can't be opened: {_first_line(error)}. {mend[0].upper()}{mend[1:]}, "
    return UserError(masked(f"{said}or name another store in MLFLOW_TRACKING_URI", uri))


def _mend(error: Exception) -> str | None:
    return next((mend for code, mend in MENDS.items() if f"error code {code} " in str(error)), None)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
