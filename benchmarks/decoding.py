"""Time how fast the stage `decode` works: on all cores, on one core, and against a bare OpenCV loop on one core.

`python -m benchmarks.decoding --before CHECKOUT` times the codecs of DICOM against those of another checkout and of
pydicom.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from benchmarks.codecs import SIDE, TIMES, compare_codecs
from benchmarks.machine import machine
from benchmarks.table import publish
from chestxray.batch_layout import HEADER, TABLE
from chestxray.datasets.batch import read_batch
from chestxray.datasets.decode import decode_batch
from chestxray.findings import NIH_VOCABULARY
from chestxray.params import PrepareParams
from chestxray.system.parallel import thread_pool

ROUNDS = 3
ORIGINAL = 1024
"""Side of the images that NIH published, in pixels."""


def compare_decoding(root: Path, params: PrepareParams, scratch: Path) -> dict[str, float]:
    """Measure milliseconds per image of a batch, the best of three rounds in which the ways take turns.

    Returns:
        "all cores", "one core" (the process is bound to it), "bare" (`imread` and `resize`, bound to one core, in a
        process of its own: in ours it would gain from the memory that `decode` keeps); and "images", how many there
        are.
    """
    files = list(read_batch(root, NIH_VOCABULARY).paths.values())

    def prepare() -> None:
        decode_batch(root, scratch / "decoded", params.size)

    def prepare_on_one_core() -> None:
        with _one_core():
            prepare()

    usual_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # OpenCV's own threads would not be bound to the core
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as script:

        def bare() -> None:
            script.submit(_bare, files, params.size).result()

        ways = {"all cores": prepare, "one core": prepare_on_one_core, "bare": bare}
        script.submit(_bare, files[:1], params.size).result()  # starts it
        rounds = [[_seconds(way) for way in ways.values()] for _ in range(ROUNDS)]
    cv2.setNumThreads(usual_threads)
    best = np.min(rounds, axis=0) / len(files) * 1000
    return dict(zip(ways, best.tolist(), strict=True)) | {"images": len(files)}


def _bare(files: Sequence[Path], size: int) -> None:
    with _one_core():
        for file in files:
            image = np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
            cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def write_originals(source: Path, root: Path, count: int) -> None:
    """Write a batch of `count` images of 1024 × 1024 pixels: those of `source`, repeated, and enlarged if need be.

    Args:
        source: a batch.
        root: the folder to make.
        count: how many images.
    """
    batch = read_batch(source, NIH_VOCABULARY)
    patients = batch.studies.set_index("image")["patient"]
    names = list(batch.paths)
    (root / "images").mkdir(parents=True)
    table = [HEADER]
    for number in range(count):
        name = names[number % len(names)]
        (root / "images" / f"{number:08d}.png").write_bytes(_original(batch.paths[name], number))
        side = ORIGINAL
        table.append(f"{number:08d}.png,No Finding,0,{patients[name]},50,M,PA,{side},{side},0.143,0.143")
    (root / TABLE).write_text("\n".join(table) + "\n", encoding="utf-8")


def _original(file: Path, number: int) -> bytes:
    """Return the image with its number in two pixels of a corner: an equal copy would be rejected."""
    image = np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    if image.shape != (ORIGINAL, ORIGINAL):
        image = np.asarray(cv2.resize(image, (ORIGINAL, ORIGINAL), interpolation=cv2.INTER_CUBIC))
    image[0, :2] = divmod(number, 256)
    return cv2.imencode(".png", image)[1].tobytes()


def _seconds(way: Callable[[], None]) -> float:
    started = time.monotonic()
    way()
    return time.monotonic() - started


@contextmanager
def _one_core() -> Iterator[None]:
    """Bind this thread, and those that work for it, to one core."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    thread_pool.cache_clear()  # new ones are bound as the thread that starts them
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)
        thread_pool.cache_clear()


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of another commit, to compare its decoder")
    parser.add_argument("--out", type=Path, help="a folder for decoding.md and decoding.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare_codecs(Path(folder), options.before)
    rows = [dict.fromkeys(dict.fromkeys(key for row in rows for key in row), "") | row for row in rows]
    heading = f"DICOM files of {SIDE} × {SIDE} pixels and 12 bits, processor time, best of {TIMES}; {machine()}"
    publish("decoding", heading, rows, {}, options.out)


if __name__ == "__main__":
    main()
