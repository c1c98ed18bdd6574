"""Measure answers a second with clients in separate processes, which don't share the server's interpreter."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Barrier
from typing import NamedTuple

from benchmarks.client import FORM, PREDICT, Client, form
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize


class Way(NamedTuple):
    """How a client sends a file: the path, a function that makes the body, and the headers."""

    path: str
    body: Callable[[bytes, int], bytes]
    headers: Mapping[str, str]


def _form(file: bytes, _: int) -> bytes:
    return form(file)


def _tensor(file: bytes, size: int) -> bytes:
    """Decode a file, and return it as MLflow's scoring JSON, the tensor in decimal digits."""
    pixels = resize(decode(file).pixels, size)
    return json.dumps({"inputs": pixels[None, ..., None].tolist()}, separators=(",", ":")).encode()


OURS = Way(PREDICT, _form, FORM)
MLFLOW = Way("/invocations", _tensor, {"Content-Type": "application/json"})


def per_second(port: int, way: Way, files: list[bytes], size: int, clients: int, n: int) -> float:
    """Measure answers a second while each client sends one request after the other.

    Args:
        port: of the server.
        way: how to send a file.
        files: radiographs, taken in turn.
        size: side of the image that the model takes, in pixels.
        clients: processes.
        n: requests of each.

    Raises:
        RuntimeError: an answer was not 200.
    """
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(clients, context) as pool:
        start_together = manager.Barrier(clients)
        asking = [pool.submit(_ask, start_together, port, way, files, size, n) for _ in range(clients)]
        spans = [work.result() for work in asking]
    return clients * n / (max(end for _, end in spans) - min(start for start, _ in spans))


def _ask(start_together: Barrier, port: int, way: Way, files: list[bytes], size: int, n: int) -> tuple[float, float]:
    with Client(port) as client:
        start_together.wait()
        start = time.monotonic()  # one clock for all processes
        for turn in range(n):
            answer = client.post(way.path, way.body(files[turn % len(files)], size), way.headers)
            if answer.status != 200:
                raise RuntimeError(f"{way.path} was answered with {answer.status}: {answer.body[:300]!r}")
        return start, time.monotonic()
