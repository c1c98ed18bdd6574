"""A bounded crowd of clients: so many threads, until an event, or so many requests a second for so long."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count

from benchmarks.client import PREDICT, Answer, Client

LONGEST = 1800.0
"""Seconds after which every crowd goes home, whatever happens."""


class Crowd:
    """Clients that ask one after the other until they are told to stop.

    Args:
        port: of the server.
        requests: path and body of each; taken in turn.
        clients: how many at the same time.

    Attributes:
        answers: all that came.
        errors: what went wrong with a request that got no answer.
        leave: set to stop.
    """

    def __init__(self, port: int, requests: Sequence[tuple[str, bytes]], clients: int) -> None:
        self.answers: list[Answer] = []
        self.errors: list[Exception] = []
        self.leave = threading.Event()
        self._port, self._requests, self._clients = port, requests, clients
        self._some = threading.Condition()

    def wait_for(self, answers: int, seconds: float = 60.0) -> bool:
        """Waits until there are so many answers; False if there are not in time."""
        with self._some:
            return self._some.wait_for(lambda: len(self.answers) >= answers, seconds)

    @contextmanager
    def asking(self) -> Iterator["Crowd"]:
        """They ask while the block runs, and every request that was sent is waited for."""
        with ThreadPoolExecutor(self._clients) as threads:
            work = [threads.submit(self._ask, number) for number in range(self._clients)]
            try:
                yield self
            finally:
                self.leave.set()
        for each in work:
            each.result()

    def _ask(self, number: int) -> None:
        end = time.monotonic() + LONGEST
        with Client(self._port) as client:
            for turn in count(number):
                if self.leave.is_set() or time.monotonic() > end:
                    return
                path, body = self._requests[turn % len(self._requests)]
                try:
                    answer = client.post(path, body)
                except (OSError, HTTPException) as error:
                    self.errors.append(error)
                    continue
                with self._some:
                    self.answers.append(answer)
                    self._some.notify_all()


def arrivals(port: int, body: bytes, rate: float, seconds: float, clients: int = 64) -> list[Answer]:
    """Asks `rate` times a second, however slowly answers come, but for at most `clients` at the same time."""
    start, numbers, lock = time.monotonic(), count(), threading.Lock()

    def ask() -> list[Answer]:
        """One client: takes the next number, waits until it is due, asks; the answers that it got."""
        answers = list[Answer]()
        with Client(port) as client:
            while True:
                with lock:
                    due = next(numbers) / rate
                if due >= seconds:
                    return answers
                time.sleep(max(0.0, start + due - time.monotonic()))
                answers.append(client.post(PREDICT, body))

    with ThreadPoolExecutor(clients) as threads:
        return [answer for part in [threads.submit(ask) for _ in range(clients)] for answer in part.result()]


@contextmanager
def probing(port: int, paths: Sequence[str], every: float) -> Iterator[list[Answer]]:
    """Asks the paths every so many seconds while the block runs; the list holds the answers."""
    done, answers = threading.Event(), list[Answer]()

    def probe() -> None:
        with Client(port) as client:
            while not done.wait(every):
                answers.extend(client.get(path) for path in paths)

    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(probe)
        try:
            yield answers
        finally:
            done.set()
    work.result()
