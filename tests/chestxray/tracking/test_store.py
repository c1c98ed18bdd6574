"""The lock of a store: who waits for whom, and what is said; a store that can't be opened is said with the mend."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import pytest

from chestxray.errors import UserError
from chestxray.tracking.store import EXPERIMENT, connect, experiment_id, open_store, store_lock


@pytest.fixture
def events() -> Iterator[SimpleQueue[object]]:
    """What is logged of the lock, as it happens."""
    queue: SimpleQueue[object] = SimpleQueue()
    logger = logging.getLogger("chestxray.tracking.store")
    handler = QueueHandler(queue)
    logger.addHandler(handler)
    yield queue
    logger.removeHandler(handler)


@pytest.mark.parametrize("other", ["{}/m.db", "{}/m.db?timeout=60", "{}/linked/m.db", "{}/linked.db?a=b/c", "m.db"])
def test_who_comes_second_says_so_and_waits_whatever_the_store_is_called(
    other: str, tmp_path: Path, events: SimpleQueue[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path)
    (tmp_path / "linked.db").symlink_to(tmp_path / "m.db")

    def second() -> None:
        with store_lock(f"sqlite:///{other.format(tmp_path)}", "runs"):
            events.put("second is in")

    with ThreadPoolExecutor(1) as thread:
        with store_lock(f"sqlite:///{tmp_path / 'm.db'}", "runs"):
            done = thread.submit(second)
            waits = events.get(timeout=60)
            assert isinstance(waits, logging.LogRecord)
            assert f"waiting for {tmp_path / 'm.db.runs.lock'}: " in waits.getMessage()
        assert events.get(timeout=60) == "second is in"
        done.result()


def test_parts_of_a_store_and_stores_on_servers_exclude_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: SimpleQueue[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("http://localhost:5000", "postgresql://user@host/mlflow?a=b"):
        with store_lock(uri, "runs"), store_lock(uri, "runs"):
            assert list(tmp_path.iterdir()) == []
    with store_lock("sqlite:///m.db", "runs"), store_lock("sqlite:///m.db", "registry"):
        assert events.empty()


def test_a_store_that_cannot_be_locked_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "m.db.runs.lock"
    lock.mkdir()  # as little to be written as in a folder that may only be read, for root too
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'm.db'}")
    with pytest.raises(UserError, match=f"can't be locked with {lock}: .*must be writable.*MLFLOW_TRACKING_URI"):
        open_store()
    assert not (tmp_path / "m.db").exists()


def damaged_database(folder: Path) -> str:
    (folder / "m.db").write_text("no database, but long enough to be one\n" * 200)
    return f"sqlite:///{folder / 'm.db'}"


def newer_database(folder: Path) -> str:
    with sqlite3.connect(folder / "m.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('of a later MLflow')")
    return f"sqlite:///{folder / 'm.db'}"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (damaged_database, "not a database"),
        (newer_database, "of a later MLflow"),
        (lambda _: "http://127.0.0.1:1", "refused"),
        (lambda _: "nowhere://m", "unsupported"),
    ],
    ids=["damaged", "newer", "no server", "no scheme"],
)
def test_a_store_that_cannot_be_opened_is_named_with_the_mend_in_one_line(
    make: Callable[[Path], str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = make(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError) as raised:
        open_store()
    said = str(raised.value)
    assert said.startswith(f"the MLflow store {uri} can't be opened: ") and reason in said and "\n" not in said
    assert said.endswith("or name another store in MLFLOW_TRACKING_URI")


@pytest.mark.parametrize("uri", ["http://user:secret@127.0.0.1:1", "postgresql://user:secret@127.0.0.1:1/mlflow"])
def test_a_password_is_not_shown(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")  # which the code sets
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 0)  # of databases, 100 s in all
    with pytest.raises(UserError, match=r"//\*\*\*@127\.0\.0\.1:1") as raised:
        open_store()
    assert "secret" not in str(raised.value)


def test_the_experiment_is_made_once_with_its_artifacts_beside_the_store(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = open_store()
    made = experiment_id(client)
    assert experiment_id(client) == made
    experiment = client.get_experiment(made)
    assert experiment.name == EXPERIMENT
    assert experiment.artifact_location == (tmp_path / "artifacts").as_uri()


def test_user_and_password_of_a_server_go_to_where_mlflow_does_not_print_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    client = connect("https://trainer:a%2Fb%40c@mlflow.example:8443/team")
    assert client.tracking_uri == os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example:8443/team"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("trainer", "a/b@c")
