"""Send requests from many threads at once: until told to stop, or at a given rate for a given time."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count

from benchmarks.client import PREDICT, Answer, Client

LONGEST = 1800.0
"""Seconds after which every crowd stops, whatever happens."""


class Crowd:
    """Clients that each send one request after the other until they are told to stop.

    Args:
        port: of the server.
        requests: path and body of each; taken in turn.
        clients: how many at the same time.

    Attributes:
        answers: all that came.
        errors: of the requests that got no answer.
        leave: set to stop.
    """

    def __init__(self, port: int, requests: Sequence[tuple[str, bytes]], clients: int) -> None:
        self.answers: list[Answer] = []
        self.errors: list[Exception] = []
        self.leave = threading.Event()
        self._port = port
        self._requests = requests
        self._clients = clients
        self._some = threading.Condition()

    def wait_for(self, answers: int, seconds: float = 60.0) -> bool:
        """Wait until there are so many answers; return False if there are not in time."""
        with self._some:
            return self._some.wait_for(lambda: len(self.answers) >= answers, seconds)

    @contextmanager
    def asking(self) -> Iterator["Crowd"]:
        """Send requests while the block runs, and wait for the answer of every request that was sent."""
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
    """Send `rate` requests a second however slowly answers come, but at most `clients` at the same time."""
    start = time.monotonic()
    numbers = count()
    lock = threading.Lock()

    def ask() -> list[Answer]:
        """Take the next number, wait until it is due, send the request, repeat; return the answers."""
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
    """Request the paths every `every` seconds while the block runs; yield the list that collects the answers."""
    done = threading.Event()
    answers: list[Answer] = []

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
