"""Work off the event loop: a few threads, a short queue, and a refusal at once when it is full."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serve.problems import ProblemError

T = TypeVar("T")


class Pool:
    """Threads with a bounded queue.

    Args:
        threads: how many pieces of work go on at the same time.
        queue_length: how many may wait.

    Attributes:
        load: pieces of work that go on or wait.
    """

    def __init__(self, threads: int, queue_length: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "inference")
        self._places = threads + queue_length
        self.load = 0

    def check(self) -> None:
        """Makes sure that there is room.

        Raises:
            ProblemError: there is none.
        """
        if self.load >= self._places:
            raise ProblemError(
                "overloaded", f"{self.load} images are being worked on or wait already; try again in a second."
            )

    async def run(self, work: Callable[[], T]) -> tuple[T, float]:
        """Does it in a thread; work that began is finished even if the client has gone.

        Returns:
            What the work returned, and the seconds that it waited.

        Raises:
            ProblemError: the queue is full.
        """
        self.check()
        arrived = time.perf_counter()
        self.load += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: (time.perf_counter() - arrived, work())
        )
        future.add_done_callback(self._free)
        waited, result = await asyncio.shield(future)
        return result, waited

    def _free(self, _: object) -> None:
        self.load -= 1

    def close(self) -> None:
        """Waits for what goes on."""
        self._executor.shutdown()
