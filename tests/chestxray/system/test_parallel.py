"""Work on all cores: in order, bounded, and over at once when it fails."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from chestxray.system.parallel import parallel_map
from tests.repository import TOP


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_if_even(item: int) -> int:
        time.sleep(0.002 if item % 2 == 0 else 0)
        return item * item

    assert list(parallel_map(slow_if_even, range(40), 8)) == [item * item for item in range(40)]
    assert list(parallel_map(slow_if_even, [], 8)) == []


def test_no_more_items_are_taken_than_may_be_in_flight() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = parallel_map(lambda item: item, items(), 5)
    for consumed in range(20):
        assert next(results) == consumed
        assert taken <= consumed + 5
    results.close()  # type: ignore[attr-defined] # a generator
    assert taken < 30


def test_a_failure_leaves_undone_what_has_not_begun() -> None:
    begun = []

    def fail(item: int) -> None:
        begun.append(item)
        if item:
            time.sleep(0.05)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(parallel_map(fail, range(1000), 500))
    assert len(begun) < 500  # which takes seconds, however many cores there are


STUCK = """
import os, signal, threading, time
from chestxray.system.parallel import parallel_map
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests inherited
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    list(parallel_map(lambda _: time.sleep(60), range(8), 4))
except KeyboardInterrupt:
    os._exit(time.monotonic() - started > 30)
"""


def test_who_is_stopped_does_not_wait_for_what_is_stuck() -> None:
    assert subprocess.run([sys.executable, "-c", STUCK], cwd=TOP, check=False, timeout=120).returncode == 0


def test_the_same_threads_work_every_time() -> None:
    workers = {ident for _ in range(20) for ident in parallel_map(lambda _: threading.get_native_id(), range(4), 4)}
    assert len(workers) <= (os.cpu_count() or 1)
