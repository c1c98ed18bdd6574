"""Work on all cores, for functions that spend their time in libraries that let other threads run."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@cache
def threads() -> ThreadPoolExecutor:
    """For the life of the process: threads that come and go leave holes in the heap, 6 MiB in 10,000 requests."""
    return ThreadPoolExecutor(os.cpu_count())


def parallel_map(function: Callable[[T], R], items: Iterable[T], in_flight: int) -> Iterator[R]:
    """The results in the order of the items; what is ahead of the consumer is bounded, so memory is too.

    Args:
        function: called in threads; it must not call this function, whose threads might all wait for each other.
        items: taken one by one, in the consumer's thread.
        in_flight: how many may be in work or wait for the consumer.

    Raises:
        Exception: the first that `function` raises, in the order of the items; what has not begun is left undone.
    """
    remaining, futures = iter(items), deque[Future[R]]()
    try:
        futures.extend(threads().submit(function, item) for item in itertools.islice(remaining, in_flight))
        while futures:
            yield futures.popleft().result()
            futures.extend(threads().submit(function, item) for item in itertools.islice(remaining, 1))
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
