"""Measure the memory of the service: beside its bare libraries, over many predictions, and under large uploads.

`benchmarks.load` prints the figures. `tests/serve/test_memory.py` holds them against each other, since MiB alone are
figures of a machine.
"""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydicom import uid

from benchmarks.client import PREDICT, Client, form
from benchmarks.process import TOP, Server, family, kibibytes
from chestxray.inference.bundle import MODEL
from tests.dicom_files import dicom

BATCH = "/predict/batch"
HEATMAPS = "?heatmaps=inline&heatmaps_for=all"
CLIENTS = 16
FILES = 32
WARM_UP = 20
MEBIBYTE = 2**20
_RAMP = np.add.outer(np.arange(300, dtype=np.uint16) * 6, np.arange(250, dtype=np.uint16) * 9)

BARE = f"""
import sys
import cv2, fastapi, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1] + "/{MODEL}")
(images,) = session.get_inputs()
size = images.shape[1]
session.run(None, {{images.name: numpy.zeros((1, size, size, 1), numpy.uint8)}})
(resident,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(resident)
"""


@dataclass(frozen=True)
class Footprint:
    """Memory of a service, in MiB.

    Attributes:
        bare: resident in a process that imports the service's large libraries and runs the model once.
        warm: resident after the first predictions with 14 heatmaps.
        later: resident after many more.
        sent: size of sixteen uploads together, each nearly as large as the service takes; batches are a little smaller.
        uploads: peak above what was resident before, when these sixteen arrive at the same time as single files.
        batches: the same, as batches of 32 files.
        short_batch: peak above what was resident before, of one batch of 2 files with 14 heatmaps each.
        long_batch: the same, of 32 files.
        long_answer: size of the answer to these.
        peak: most that was resident while the sixteen arrived.
        codecs: resident of the process for codecs after large compressed films; it is started by the first.
        films: peak above what was resident before, with that process, when sixteen of these arrive together.
        film: size of one as stored values.
    """

    bare: float
    warm: float
    later: float
    sent: float
    uploads: float
    batches: float
    short_batch: float
    long_batch: float
    long_answer: float
    peak: float
    codecs: float
    films: float
    film: float


def measure_footprint(server: Server, bundle: Path, predictions: int) -> Footprint:
    """Measure a service that was asked nothing yet.

    Args:
        server: the service.
        bundle: what it serves.
        predictions: how many to ask for between `warm` and `later`.
    """
    ordinary = form(_png(1024, np.uint8, 1))
    upload = form(_png(3160, np.uint16, 0))
    batch = form(*[_png(750, np.uint8, 1)] * FILES)
    short = form(*[_png(750, np.uint8, 1)] * 2)
    _ask(server, PREDICT + HEATMAPS, ordinary, WARM_UP)
    warm = server.resident()
    _ask(server, PREDICT + HEATMAPS, ordinary, predictions)
    later = server.resident()
    uploads = _growth(server, lambda: _ask(server, PREDICT + HEATMAPS, upload, CLIENTS, CLIENTS))
    peak = server.peak()
    batches = _growth(server, lambda: _ask(server, BATCH, batch, CLIENTS, CLIENTS))
    _ask(server, BATCH + HEATMAPS, short)  # the first one grows the heap
    short_batch = _growth(server, lambda: _ask(server, BATCH + HEATMAPS, short))
    answered: list[int] = []
    long_batch = _growth(server, lambda: answered.append(_ask(server, BATCH + HEATMAPS, batch)))
    film = form(dicom(np.tile(_RAMP, (10, 12)), uid.JPEG2000Lossless, 12))
    _ask(server, PREDICT, film)
    films = _growth(server, lambda: _ask(server, PREDICT, film, CLIENTS, CLIENTS))
    (_, *started) = family(server.process.pid)
    return Footprint(
        codecs=sum(kibibytes(pid, "status", "VmRSS") for pid in started) / 1024,
        films=films,
        film=120 * _RAMP.nbytes / MEBIBYTE,
        bare=_bare_mebibytes(bundle),
        warm=warm,
        later=later,
        sent=CLIENTS * len(upload) / MEBIBYTE,
        uploads=uploads,
        batches=batches,
        short_batch=short_batch,
        long_batch=long_batch,
        long_answer=sum(answered) / MEBIBYTE,
        peak=peak,
    )


def _bare_mebibytes(bundle: Path) -> float:
    command = [sys.executable, "-c", BARE, str(bundle)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def _png(side: int, dtype: type[np.unsignedinteger], compression: int) -> bytes:
    """A square of noise."""
    levels = np.random.default_rng(0).integers(np.iinfo(dtype).max, size=(side, side), dtype=dtype)
    return cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes()


def _growth(server: Server, work: Callable[[], object]) -> float:
    server.reset_peak()
    before = server.resident()
    work()
    return server.peak() - before


def _ask(server: Server, path: str, body: bytes, times: int = 1, clients: int = 1) -> int:
    """Post a body so many times; return how many bytes were answered."""

    def post(_: int) -> int:
        with Client(server.port) as client:
            answer = client.post(path, body)
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return len(answer.body)

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(post, range(times)))
