"""Map a function over items in the threads of all cores.

The function should spend its time in libraries that release Python's lock, as NumPy, OpenCV and ONNX Runtime do.
"""

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
def thread_pool() -> ThreadPoolExecutor:
    """Return the one pool of the process, a thread a core, never shut down (see docs/decisions/thread-pool.md)."""
    return ThreadPoolExecutor(os.cpu_count())


def parallel_map(function: Callable[[T], R], items: Iterable[T], in_flight: int) -> Iterator[R]:
    """Yield the results in the order of the items, working at most `in_flight` items ahead of the consumer.

    Args:
        function: called in threads; it must not call this function, whose threads might all wait for each other.
        items: taken one by one, in the consumer's thread.
        in_flight: how many may be in work or wait for the consumer.

    Raises:
        Exception: the first that `function` raises, in the order of the items; what has not begun is left undone.
    """
    remaining = iter(items)
    futures = deque[Future[R]]()
    try:
        futures.extend(thread_pool().submit(function, item) for item in itertools.islice(remaining, in_flight))
        while futures:
            yield futures.popleft().result()
            futures.extend(thread_pool().submit(function, item) for item in itertools.islice(remaining, 1))
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
