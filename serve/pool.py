"""Work off the event loop: in a few threads, behind a short queue, with a refusal at once when it is full."""

import time
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from serve.problems import ProblemError

T = TypeVar("T")


class Pool:
    """Run work in threads with a bounded queue.

    Args:
        threads: how many pieces of work go on at the same time.
        queue_length: how many may wait.

    Attributes:
        load: pieces of work that go on or wait.
    """

    def __init__(self, threads: int, queue_length: int) -> None:
        self._limiter = CapacityLimiter(threads)
        self._capacity = threads + queue_length
        self.load = 0

    def check(self) -> None:
        """Make sure that there is room.

        Raises:
            ProblemError: there is none.
        """
        if self.load >= self._capacity:
            busy = f"{self.load} images are being worked on or wait already; try again in a second."
            raise ProblemError("overloaded", busy)

    async def run(self, work: Callable[[], T]) -> tuple[float, T]:
        """Run work in a thread when its turn has come; once begun it is finished, even if the client has gone.

        Returns:
            The seconds that it waited, and what it returned.
        """
        self.load += 1
        arrived = time.perf_counter()
        try:
            return await to_thread.run_sync(lambda: (time.perf_counter() - arrived, work()), limiter=self._limiter)
        finally:
            self.load -= 1
