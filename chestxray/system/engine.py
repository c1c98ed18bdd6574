"""Map a function over items by the engine of the machine: threads, or the Ray cluster that RAY_ADDRESS names.

Results don't hang on it, so it is no param. See docs/decisions/ray.md.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from chestxray.errors import UserError
from chestxray.system.parallel import parallel_map

T = TypeVar("T")
R = TypeVar("R")

ADDRESS = "RAY_ADDRESS"
"""The variable that chooses Ray, as Ray's own commands know it."""


def engine_map(
    function: Callable[[T], R], items: Iterable[T], in_flight: int, threads_per_core: int = 1
) -> Iterator[R]:
    """Yield the results in the order of the items, each once, whichever engine works and whatever dies on its way.

    Args:
        function: is pickled for Ray, and unpickled once in each of its workers: what is dear to set up is made then.
            It must not call this function.
        items: taken one by one, in the consumer's thread; pickled for Ray, as results are.
        in_flight: how many may be in work or wait for the consumer; with Ray, half as many for each core of the
            cluster, at least two. 1 is for work that takes all cores by itself: it is done in the consumer's thread,
            with Ray one item a node.
        threads_per_core: more than one where the function waits for other processes or for files.

    Raises:
        UserError: Ray is asked for and is not installed, no cluster answers, or it lost a worker too often.
        Exception: the first that `function` raises, in the order of the items.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return parallel_map(function, items, in_flight, threads_per_core)
    try:
        from chestxray.system.ray_tasks import ray_map  # noqa: PLC0415 # is imported by those who ask for it alone
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError(
            f"{ADDRESS} is set and Ray is not installed: pip install '.[ray]' in the repository, or unset {ADDRESS} to "
            "work on this machine alone"
        ) from None
    return ray_map(address, function, items, in_flight, threads_per_core)


def check_missing(path: str) -> None:
    """Check that a file that was not found where it should be worked on is not here either.

    Raises:
        UserError: it is here, so a node of the cluster sees other files.
    """
    if os.environ.get(ADDRESS) and os.path.exists(path):  # noqa: PTH110 # a text
        raise UserError(
            f"a node of the Ray cluster does not find {path!a}, which is here: let all nodes see the same files at the "
            "same places, or give addresses of object storage"
        )
