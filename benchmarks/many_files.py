"""Measure what DVC costs with many files, against one file of the same bytes: `python -m benchmarks.many_files`.

Each form is tracked by `dvc add` in a scratch repository with the cache settings of this one, and is a stage's
dependency in another, as the root of a batch that DVC does not track is. The files are of 1 to 4 kB: what shows is what
a file costs, not what its bytes do.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import machine
from benchmarks.process import TOP
from benchmarks.scratch import processor_seconds
from benchmarks.table import Row, publish
from benchmarks.tiling import ARCHIVE

SIZES = (1000, 4000)
"""Bytes of a file, at least and at most."""
RAW = "raw"
STAGE = f"stages: {{look: {{cmd: touch seen, deps: [{RAW}], outs: [seen]}}}}\n"


class Spent(NamedTuple):
    """Seconds, and those of processors, which a busy machine changes less."""

    seconds: float
    processor: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} ({self.processor:.1f})"


def contents(files: int) -> Iterator[bytes]:
    """Yield the bytes of each file."""
    rng = np.random.default_rng(0)
    for size in rng.integers(*SIZES, files):
        yield rng.bytes(int(size))


def write_form(form: str, raw: Path, files: int) -> None:
    """Write the same bytes as `files` files, or as one."""
    raw.mkdir(parents=True)
    if form == "one file":
        with (raw / "all.bin").open("wb") as stream:
            stream.writelines(contents(files))
        return
    for number, content in enumerate(contents(files)):
        (raw / f"{number:08d}.png").write_bytes(content)


def run(top: Path, *command: str) -> Spent:
    """Run a command in `top`, and return what it took.

    Raises:
        RuntimeError: it failed; the message ends with its last output.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    started, used = time.monotonic(), processor_seconds()
    done = subprocess.run(command, cwd=top, env=kept, capture_output=True, text=True, check=False)
    spent = Spent(time.monotonic() - started, processor_seconds() - used)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    print(f"{' '.join(command[2:])}: {spent}", file=sys.stderr, flush=True)
    return spent


def dvc(top: Path, *words: str) -> Spent:
    """Run DVC in `top`, and return what it took."""
    return run(top, sys.executable, "-m", "dvc", *words)


def start(top: Path, form: str, files: int) -> None:
    """Make a repository with the data, and with the DVC settings of this one and a remote in a folder beside it."""
    write_form(form, top / RAW, files)
    run(top, "git", "init", "-q")
    dvc(top, "init", "-q")
    shutil.copy(TOP / ".dvc/config", top / ".dvc/config")
    dvc(top, "remote", "add", "--default", "storage", str(top.with_name(f"{top.name}-remote")))


def measure(form: str, folder: Path, files: int) -> dict[str, Spent]:
    """Measure each command on one form of the data."""
    tracked = folder / "tracked"
    start(tracked, form, files)
    seconds = {"dvc add": dvc(tracked, "add", RAW)}
    seconds["dvc status, nothing changed"] = dvc(tracked, "status")
    seconds["dvc push"] = dvc(tracked, "push")
    seconds["dvc push, nothing to push"] = dvc(tracked, "push")
    shutil.rmtree(tracked / RAW)
    seconds["dvc checkout"] = dvc(tracked, "checkout")
    (tracked / RAW / "one-more.png").write_bytes(b"more")
    seconds["dvc add, one file more"] = dvc(tracked, "add", RAW)
    seconds["dvc push, one file more"] = dvc(tracked, "push")
    shutil.rmtree(tracked / RAW)
    shutil.rmtree(tracked / ".dvc/cache")
    seconds["dvc pull"] = dvc(tracked, "pull")
    depended = folder / "depended"
    start(depended, form, files)
    (depended / "dvc.yaml").write_text(STAGE)
    seconds["dvc repro, the folder as a dependency"] = dvc(depended, "repro")
    seconds["dvc repro, nothing changed"] = dvc(depended, "repro")
    seconds["dvc status, the folder as a dependency"] = dvc(depended, "status")
    (depended / RAW / "one-more.png").write_bytes(b"more")
    seconds["dvc status, one file more"] = dvc(depended, "status")
    return seconds | measure_manifest(depended / RAW)


def measure_manifest(raw: Path) -> dict[str, Spent]:
    """Measure the listing of a folder's files: by name, size and time of change; and by SHA-256."""
    started, used = time.monotonic(), time.process_time()
    for entry in os.scandir(raw):
        entry.stat()
    listed = Spent(time.monotonic() - started, time.process_time() - used)
    for file in sorted(raw.iterdir()):
        hashlib.sha256(file.read_bytes()).hexdigest()
    both = Spent(time.monotonic() - started, time.process_time() - used)
    return {"a manifest of names, sizes, times": listed, "a manifest with SHA-256 too": both}


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=ARCHIVE)
    parser.add_argument("--scratch", type=Path, help="a folder on the file system to measure; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a folder for many_files.md and many_files.json")
    options = parser.parse_args()
    measured = {}
    for form in (f"{options.files:,} files", "one file"):
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            measured[form] = measure(form, Path(folder), options.files)
    rows: list[Row] = [
        {"seconds (of processors)": name, **{form: str(each[name]) for form, each in measured.items()}}
        for name in next(iter(measured.values()))
    ]
    publish("many_files", f"DVC with many files and with one; {machine()}", rows, {"seconds": measured}, options.out)


if __name__ == "__main__":
    main()
