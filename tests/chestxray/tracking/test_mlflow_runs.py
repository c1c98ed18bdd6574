"""The state of the pipeline, and the lock of a store: who waits for whom, and what is said."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import pytest

from chestxray.batch_layout import BOXES, OLD_TABLE, SYNTHETIC_NOTICE, TABLE, TEST_LIST, UNLABELLED_NOTICE
from chestxray.params import BatchParams
from chestxray.tracking.mlflow_runs import one_at_a_time, open_store, pipeline_state
from tests.chestxray.conftest import PARAMS


@pytest.mark.parametrize("name", [TABLE, OLD_TABLE, BOXES, TEST_LIST, SYNTHETIC_NOTICE, UNLABELLED_NOTICE])
def test_what_a_batch_from_outside_says_is_part_of_the_state(name: str, tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"batches": {"b": BatchParams(root=str(tmp_path))}})
    without = pipeline_state(params)
    (tmp_path / name).write_text("Hernia\n")
    assert pipeline_state(params) != without
    (tmp_path / name).unlink()
    assert pipeline_state(params) == without


@pytest.fixture
def events() -> Iterator[SimpleQueue[object]]:
    """What is logged of the lock, as it happens."""
    queue: SimpleQueue[object] = SimpleQueue()
    logger, handler = logging.getLogger("chestxray.tracking.mlflow_runs"), QueueHandler(queue)
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
        with one_at_a_time(f"sqlite:///{other.format(tmp_path)}", "runs"):
            events.put("second is in")

    with ThreadPoolExecutor(1) as thread:
        with one_at_a_time(f"sqlite:///{tmp_path / 'm.db'}", "runs"):
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
        with one_at_a_time(uri, "runs"), one_at_a_time(uri, "runs"):
            assert list(tmp_path.iterdir()) == []
    with one_at_a_time("sqlite:///m.db", "runs"), one_at_a_time("sqlite:///m.db", "registry"):
        assert events.empty()


def test_a_store_that_cannot_be_locked_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "m.db.runs.lock"
    lock.mkdir()  # as little to be written as in a folder that may only be read, for root too
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'm.db'}")
    with pytest.raises(OSError, match=f"can't be locked with {lock}: .*must be writable.*MLFLOW_TRACKING_URI"):
        open_store()
    assert not (tmp_path / "m.db").exists()
