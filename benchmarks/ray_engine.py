"""Measure images a second by the engine that maps them: threads, and Ray with one and two workers.

`python -m benchmarks.ray_engine FOLDER`, with a folder of radiographs. Decoding and scoring are what the stage `decode`
and `chestxray predict` do; what comes out must be the same bytes.
"""

import argparse
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.machine import machine
from benchmarks.table import Row, publish
from chestxray.cli.predict import opened_model
from chestxray.datasets.decode import decode_batch
from chestxray.scoring.inputs import find_inputs
from chestxray.scoring.run import score_to_table
from chestxray.scoring.score import Scorer
from chestxray.system.telemetry import forbid_telemetry

SIZE = 256
"""Side of the decoded images, in pixels."""
ENGINES = {"threads": 0, "Ray, 1 worker": 1, "Ray, 2 workers": 2}
"""And how many workers of Ray each has."""


def main() -> None:
    """Measure and print; fails if an engine makes other bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="models/bundle")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts, after one to warm up (default: 3)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    forbid_telemetry()
    rows, digests = [], set()
    with opened_model(options.model, threads=1) as model:
        for name, workers in ENGINES.items():
            with engine(workers), tempfile.TemporaryDirectory() as temporary:
                row, digest = measure(options.folder, Scorer(model), Path(temporary), options.rounds)
            rows.append({"engine": name, **row})
            digests.add(digest)
    heading = f"{len(find_inputs([str(options.folder)]).files)} images, best of {options.rounds} rounds, on {machine()}"
    publish("ray_engine", heading, rows, {"digests": sorted(digests)}, options.out)
    if len(digests) > 1:
        raise SystemExit("the engines make different bytes")


def measure(folder: Path, scorer: Scorer, out: Path, rounds: int) -> tuple[Row, str]:
    """Decode and score a folder with the engine that is set; returns the figures and the digest of what came out."""
    files = find_inputs([str(folder)]).files
    ways: dict[str, Callable[[], object]] = {
        "decoding": lambda: decode_batch(folder, out / "decoded", SIZE),
        "scoring": lambda: score_to_table(scorer, files, out / "scores.csv"),
    }
    row: Row = {}
    for name, work in ways.items():
        cold, *warm = [spent(work) for _ in range(rounds + 1)]
        row[f"{name}, images/s"] = f"{len(files) / min(wall for wall, _ in warm):.0f}"
        row[f"{name}, processor ms an image"] = f"{1000 * min(cpu for _, cpu in warm) / len(files):.1f}"
        row[f"{name}, first round"] = f"{cold[0]:.1f} s"
    written = (out / "decoded" / "images.npy").read_bytes() + (out / "scores.csv").read_bytes()
    return row, hashlib.sha256(written).hexdigest()


@contextmanager
def engine(workers: int) -> Iterator[None]:
    """Work with threads, or with so many workers of Ray on this machine."""
    os.environ.pop("RAY_ADDRESS", None)
    if not workers:
        yield
        return
    import ray  # noqa: PLC0415 # it may be missing

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    os.environ["RAY_ADDRESS"] = "local"
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds, and the processor seconds of this process and all below it, that some work takes."""
    start, used = time.perf_counter(), processor_seconds()
    work()
    return time.perf_counter() - start, processor_seconds() - used


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it started."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in [own, *own.children(recursive=True)])


if __name__ == "__main__":
    main()
