"""Measure images a second and memory of scoring a folder: `chestxray predict` beside what one would write oneself.

`python -m benchmarks.throughput --torch PYTHON`, with the interpreter of an environment that has
`benchmarks/requirements.txt`. Each way is a process of its own on the same two cores, from files in the page cache to
a table with numbers and decisions of all findings. They take turns. Ours looks at two views of each image, judges its
quality and keeps its rows through a crash; the others look at one view unless their name says two.

`--rows 1000000` measures the memory of a run of so many rows instead: see `benchmarks.rows`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.films import base_films, write_films
from benchmarks.machine import machine
from benchmarks.process import TOP
from benchmarks.rows import measure_rows
from benchmarks.scratch import Peak, measure_peak
from benchmarks.serving import CHAMPION, register
from benchmarks.single_view import single_view
from benchmarks.table import Row, publish

CORES = 2
COMPARED = 4
"""Films on which logits are compared."""
TOLERANCE = 1e-3
"""Of logits of the same image; another network is no comparison."""
OURS = "chestxray predict (two views)"
KERAS = "keras.Model.predict"
SHARED_OUT = ("smaps_rollup", "Pss")
"""Resident memory; what processes share is counted once."""


class Way(NamedTuple):
    """A way to score a folder: a command in which {folder} and {out} are replaced, and its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = {}


class Taken(NamedTuple):
    """What a way took.

    Attributes:
        seconds: of all files.
        start: seconds of a single file.
        processor: seconds of both cores that the other files took.
        mebibytes: at the peak of all files.
    """

    seconds: float
    start: float
    processor: float
    mebibytes: float


def main() -> None:
    """Print the tables, or write them to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has benchmarks/requirements.txt")
    parser.add_argument("--images", type=Path, help="a folder of PNG films to repeat; default: drawn ones")
    parser.add_argument("--n", type=int, default=500, help="files of each format (default: 500)")
    parser.add_argument("--rounds", type=int, default=2, help="the best counts, after one for the memory (default: 2)")
    parser.add_argument("--rows", type=int, help="measure the memory of runs of up to so many rows instead")
    parser.add_argument("--scratch", type=Path, help="a folder with room for 12 MB a file; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a folder for throughput.md and throughput.json")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    base = base_films(options.images, options.n)
    bundle = options.bundle.resolve()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        if options.rows:
            rows = measure_rows(Path(scratch), base, bundle, options.rows)
            publish("rows", f"Memory of a run by its rows; {machine()}", rows, {}, options.out)
            return
        folders = write_films(Path(scratch, "films"), base, options.n)
        ways = prepared_ways(Path(scratch), bundle, base[:COMPARED], options.torch)
        taken = {kind: take_turns(ways, folder, Path(scratch), options.rounds) for kind, folder in folders.items()}
    heading = f"Scoring {options.n} files of each format, {'drawn' if options.images is None else 'given'} films; "
    rows = [row for kind, of in taken.items() for row in table_rows(kind, of, options.n)]
    record = {"taken": {kind: {name: each._asdict() for name, each in of.items()} for kind, of in taken.items()}}
    publish("throughput", heading + machine(), rows, record, options.out)


def prepared_ways(scratch: Path, bundle: Path, films: list[bytes], torch: str | None) -> dict[str, Way]:
    """Return the ways, after checking that the networks of other libraries give the bundle's logits.

    Raises:
        RuntimeError: they don't, or a loop can't be run.
    """
    network = scratch / "network.npz"
    np.savez(network, allow_pickle=False, **single_view(bundle, films))
    store = register(scratch / "mlflow", bundle)
    python = sys.executable
    ours = (python, "-m", "chestxray", "predict", "{folder}", "--model", str(bundle), "--output", "{out}")
    loops: dict[str, tuple[str, ...]] = {KERAS: (python, "-m", "benchmarks.keras_loop", str(network))}
    if torch is None:
        print("PyTorch is left out: --torch names no interpreter that has it")
    else:
        loops["PyTorch loop"] = (torch, str(TOP / "benchmarks" / "torch_loop.py"), str(network))
    for name, loop in loops.items():
        check_network(name, loop)
    ways = {OURS: Way((*ours, "--accept-anyway"))}
    ways |= {name: Way((*loop, "{folder}", "{out}")) for name, loop in loops.items()}
    if torch is not None:
        ways["PyTorch loop, two views"] = Way((*loops["PyTorch loop"], "{folder}", "{out}", "2"))
    pyfunc = (python, "-m", "benchmarks.pyfunc_loop", CHAMPION, "{folder}", "{out}")
    return ways | {"mlflow.pyfunc loop (two views)": Way(pyfunc, {"MLFLOW_TRACKING_URI": store})}


def check_network(name: str, loop: Sequence[str]) -> None:
    """Print how far the logits of a loop are from the bundle's.

    Raises:
        RuntimeError: by more than `TOLERANCE`, or the loop fails.
    """
    done = subprocess.run(loop, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    difference = float(done.stdout.split()[-1])
    print(f"{name}: logits of one view differ from the bundle's by at most {difference:.1e}")
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{name} computes another network")


def take_turns(ways: Mapping[str, Way], folder: Path, scratch: Path, rounds: int) -> dict[str, Taken]:
    """Score a folder in every way: once for the memory, which also fills the page cache, then for the time."""
    first = min(folder.iterdir())
    single = scratch / f"one-{folder.name}"
    single.mkdir()
    (single / first.name).hardlink_to(first)
    able = {name: way for name, way in ways.items() if name != KERAS or first.suffix == ".png"}
    peaks = {name: run(way, folder, scratch, SHARED_OUT).mebibytes for name, way in able.items()}
    rounds_of: dict[str, list[tuple[Peak, Peak]]] = {name: [] for name in able}
    for number in range(rounds):
        for name, way in able.items():
            whole, start = (run(way, each, scratch) for each in (folder, single))
            rounds_of[name].append((whole, start))
            print(
                f"{folder.name}, round {number + 1}, {name}: {whole.seconds:.1f} s, one file {start.seconds:.1f} s",
                file=sys.stderr,
            )
    return {name: best(pairs, peaks[name]) for name, pairs in rounds_of.items()}


def best(rounds: Sequence[tuple[Peak, Peak]], mebibytes: float) -> Taken:
    """Return the best of several rounds, each of all files and of a single one."""
    return Taken(
        seconds=min(whole.seconds for whole, _ in rounds),
        start=min(start.seconds for _, start in rounds),
        processor=min(whole.processor for whole, _ in rounds) - min(start.processor for _, start in rounds),
        mebibytes=mebibytes,
    )


def run(way: Way, folder: Path, scratch: Path, field: tuple[str, str] | None = None) -> Peak:
    """Run a way.

    Raises:
        RuntimeError: it failed, or its table has not a row for each file.
    """
    out = scratch / "out.csv"
    out.unlink(missing_ok=True)
    command = [word.format(folder=folder, out=out) for word in way.command]
    taken = measure_peak(command, scratch, {"PYTHONPATH": str(TOP), **way.environment}, field)
    rows, files = out.read_bytes().count(b"\n") - 1, len(list(folder.iterdir()))
    if rows != files:
        raise RuntimeError(f"{' '.join(command)}: {rows} rows for {files} files")
    return taken


def table_rows(kind: str, taken: Mapping[str, Taken], count: int) -> list[Row]:
    """Return a row for each way; "ours" says how many times as fast ours is, and by what its memory is smaller."""
    ours = taken[OURS]
    rate = {name: (count - 1) / (each.seconds - each.start) for name, each in taken.items()}
    return [
        {
            "files": kind,
            "way": name,
            "images/s": f"{count / each.seconds:.1f}",
            "ours": f"× {each.seconds / ours.seconds:.2f}",
            "start, s": f"{each.start:.1f}",
            "images/s without the start": f"{rate[name]:.1f}",
            "ours ": f"× {rate[OURS] / rate[name]:.2f}",
            "processor ms an image": f"{1000 * each.processor / (count - 1):.1f}",
            "ours  ": f"× {each.processor / ours.processor:.2f}",
            "MiB": f"{each.mebibytes:.0f}",
            "ours   ": f"÷ {each.mebibytes / ours.mebibytes:.2f}",
        }
        for name, each in taken.items()
    ]


if __name__ == "__main__":
    main()
