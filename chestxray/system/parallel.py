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
def thread_pool(threads_per_core: int) -> ThreadPoolExecutor:
    """Return the one pool of its size in the process, never shut down (see docs/decisions/thread-pool.md)."""
    return ThreadPoolExecutor(threads_per_core * (os.cpu_count() or 1))


def parallel_map(
    function: Callable[[T], R], items: Iterable[T], in_flight: int, threads_per_core: int = 1
) -> Iterator[R]:
    """Yield the results in the order of the items, working at most `in_flight` items ahead of the consumer.

    Args:
        function: called in threads; it must not call this function, whose threads might all wait for each other.
        items: taken one by one, in the consumer's thread.
        in_flight: how many may be in work or wait for the consumer; with 1, work is done in the consumer's thread.
        threads_per_core: more than one where the function waits for other processes.

    Raises:
        Exception: the first that `function` raises, in the order of the items; what has not begun is left undone, and
            what has is waited for, but where Ctrl-C wants an end: it may wait for a storage that is silent.
    """
    if in_flight == 1:
        yield from map(function, items)
        return
    pool = thread_pool(threads_per_core)
    remaining = iter(items)
    futures = deque[Future[R]]()
    try:
        futures.extend(pool.submit(function, item) for item in itertools.islice(remaining, in_flight))
        while futures:
            yield futures.popleft().result()
            futures.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
    except KeyboardInterrupt:
        _cancel(futures)
        futures.clear()
        raise
    finally:
        _cancel(futures)
        wait(futures)


def _cancel(futures: Iterable[Future[R]]) -> None:
    for future in futures:
        future.cancel()
