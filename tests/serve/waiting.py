"""Ask servers, and wait for them, as long as a busy machine needs."""

import time
from collections.abc import Callable

import httpx2

from benchmarks.process import DEADLINE
from tests.serve.files import PNG


def get(url: str) -> httpx2.Response:
    """GET."""
    return httpx2.get(url, timeout=DEADLINE)


def post(url: str) -> httpx2.Response:
    """POST of a radiograph."""
    return httpx2.post(url, files={"file": PNG}, timeout=DEADLINE)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits until it holds; `what` says what did not happen if it never does."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def until(ask: Callable[[], httpx2.Response], status: int) -> httpx2.Response:
    """Asks until the answer has a status, also of a server that does not listen yet."""
    answers: list[httpx2.Response] = []

    def answered() -> bool:
        try:
            answers.append(ask())
        except httpx2.ConnectError:
            return False
        return answers[-1].status_code == status

    wait_until(answered, f"no answer of status {status}")
    return answers[-1]


def wait_until_ready(url: str, status: int) -> httpx2.Response:
    """Asks until `/readyz` has a status."""
    return until(lambda: get(f"{url}/readyz"), status)
