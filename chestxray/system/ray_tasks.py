"""Map a function over items in the workers of a Ray cluster, so that the death of some of them changes nothing.

What becomes of an item is told by values alone: Ray keeps the messages of errors, and they may name a file.
"""

import hashlib
import logging
import os
import re
import signal
import socket
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import ray

from chestxray.errors import UserError
from chestxray.system.malloc import keep_image_blocks

T = TypeVar("T")
R = TypeVar("R")
Outcome = tuple[list[R], Exception | None]
"""The results of a task up to the first error, and that."""

TASKS_PER_CPU = 2
"""One is worked on, the next one waits at hand."""
TASKS_IN_FLIGHT = 4
"""Tasks that the items which may be in flight on one machine make."""
RETRIES = 10
"""How often a task may lose its worker or its results, before what it does is held to be the cause."""
ANSWERS_WITHIN = 10.0
"""Seconds that the cluster has to take a connection; Ray itself waits for minutes."""
PACKAGE = Path(__file__).parents[1]


def ray_map(address: str, function: Callable[[T], R], items: Iterable[T], in_flight: int, threads: int) -> Iterator[R]:
    """Yield the results in the order of the items: see `chestxray.system.engine.engine_map`.

    Args:
        address: of the cluster.
        function: to call.
        items: its arguments.
        in_flight: of one machine; a quarter of them makes a task. With 1 a task has a node for itself.
        threads: of a worker.
    """
    _connect(address)
    needed = _smallest_node() if in_flight == 1 else {"num_cpus": 1}
    work = ray.remote(max_retries=RETRIES, **needed)(_work)
    held = [ray.put(function)]  # within a list: what stands alone would be unpickled for each task
    here = (str(Path.cwd()), code_digest())
    remaining = iter(items)
    size = -(-in_flight // TASKS_IN_FLIGHT)
    tasks = deque[Any]()
    try:
        while True:
            while len(tasks) < TASKS_PER_CPU * _cpus() and (some := list(islice(remaining, size))):
                tasks.append(work.remote(held, some, threads, *here))
            if not tasks:
                return
            results, error = _outcome(tasks.popleft())
            yield from results
            if error:
                raise error
    finally:
        for task in tasks:
            ray.cancel(task)


def _outcome(task: Any) -> Outcome[Any]:
    """Wait for a task.

    Raises:
        UserError: Ray has no outcome.
    """
    try:
        outcome: Outcome[Any] = ray.get(task)
    except ray.exceptions.RayTaskError as error:  # before the task's own code ran
        raise UserError(
            f"a Ray worker can't begin ({type(error.cause).__name__}): install the same version of this repository, "
            "with the same packages, on all nodes"
        ) from error
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray gave up after {RETRIES} retries ({type(error).__name__}): see to the nodes and their memory, then "
            "run the same again"
        ) from error
    return outcome


def _cpus() -> int:
    """Return how many cores the cluster has at this moment, at least one."""
    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def _smallest_node() -> dict[str, int]:
    """Return the cores and GPUs that each node which works has at this moment."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes if node.get("CPU", 0) >= 1] for kind in ("CPU", "GPU"))
    return {"num_cpus": min(cpus, default=1), "num_gpus": min(gpus, default=0)}


def _work(held: list[Any], items: list[T], threads: int, folder: str, code: str) -> Outcome[Any]:
    """Work on the items of a task, in a worker."""
    results: list[Any] = []
    try:
        function = _received(held[0], folder, code)
        with ThreadPoolExecutor(threads) as pool:
            for result in pool.map(function, items):
                results.append(result)  # those before an error count
    except Exception as error:
        error.add_note("".join(traceback.format_tb(error.__traceback__)))
        return results, error
    return results, None


@lru_cache(maxsize=1)
def _received(held: Any, folder: str, code: str) -> Callable[[Any], Any]:
    """Make a worker like the process that gave it the function, and unpickle that, once.

    Raises:
        UserError: it can't be made like it.
    """
    logging.disable()  # Ray keeps what is logged and written to stderr
    warnings.simplefilter("ignore")
    node = socket.gethostname()
    if code_digest() != code:
        raise UserError(f"the Ray node {node} has another version of chestxray: install the same one on all nodes")
    try:
        os.chdir(folder)
    except OSError:
        raise UserError(
            f"the Ray node {node} has no folder {folder}: start from one that all nodes share, since paths go by it"
        ) from None
    keep_image_blocks()
    function: Callable[[Any], Any] = ray.get(held)
    return function


@cache
def code_digest() -> str:
    """Return what tells versions of this package apart: the SHA-256 of its modules, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _connect(address: str) -> None:
    """Become a driver of the cluster, unless this process is one.

    Raises:
        UserError: there is no cluster, or it does not let this process in.
    """
    if ray.is_initialized():
        return
    mend = (
        "start one with `ray start --head`, mend the address or the token (RAY_AUTH_TOKEN_PATH), or unset RAY_ADDRESS "
        "to work on this machine alone"
    )
    if place := re.fullmatch(r"([^/]+):(\d+)", address):
        try:
            socket.create_connection((place[1].strip("[]"), int(place[2])), ANSWERS_WITHIN).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"RAY_ADDRESS: no Ray cluster answers at {address!a} ({error}): {mend}") from None
    ended_by = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ended_by or signal.SIG_DFL)  # Ray puts its own there
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"RAY_ADDRESS: Ray can't be used at {address!a} ({said}): {mend}") from error
