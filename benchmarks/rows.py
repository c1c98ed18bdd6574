"""Measure the memory of `chestxray predict` by the number of rows, up to millions, without scoring millions of films.

A list names a hundred films again and again. The command begins with it and is killed once each film is scored. What
its journal holds then is repeated up to the last hundred rows, as if it had been killed there, and the same command
goes on: it reads the list, finds where it was, scores the last hundred films and writes the table. The memory and the
time of this are measured. What is left out is the scoring of the rows between, of which a run keeps but its journal.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

from benchmarks.process import DEADLINE, TOP, family
from benchmarks.scratch import measure_peak
from benchmarks.table import Row
from chestxray.scoring.journal import ROWS

FILMS = 100
FEWEST = 10_000


def measure_rows(scratch: Path, base: list[bytes], bundle: Path, most: int, films: int = FILMS) -> list[Row]:
    """Measure runs of 10,000, 100,000 … rows, and of `most`, all of a folder's first `films` films."""
    names = [f"{number:03d}.png" for number in range(films)]
    for name, film in zip(names, cycle(base), strict=False):
        (scratch / name).write_bytes(film)
    counts = [FEWEST * 10**power for power in range(7) if FEWEST * 10**power < most]
    return [_measure(scratch, names, bundle, count) for count in (*counts, most)]


def _measure(scratch: Path, names: list[str], bundle: Path, count: int) -> Row:
    listed, out = scratch / "list.csv", scratch / "out.csv"
    with listed.open("w", encoding="utf-8") as file:
        file.writelines(f"{name}\n" for name in ("path", *islice(cycle(names), count)))
    command = [sys.executable, "-m", "chestxray", "predict", "--csv", f"{listed}:path", "--model", str(bundle)]
    command += ["--output", str(out), "--accept-anyway"]
    environment = {"PYTHONPATH": str(TOP)}
    repeat_rows(killed_journal(command, out, environment, len(names)), len(names), count - len(names))
    peak = measure_peak(command, scratch, environment, ("smaps_rollup", "Pss"))
    with out.open("rb") as table:
        rows = sum(1 for _ in table) - 1
    if rows != count:
        raise RuntimeError(f"{rows} rows were written, {count} were asked for")
    size = out.stat().st_size
    out.unlink()
    return {
        "rows": f"{count:,}",
        "MiB": f"{peak.mebibytes:.0f}",
        "table, MB": f"{size / 1e6:.0f}",
        "s": f"{peak.seconds:.0f}",
    }


def killed_journal(command: list[str], out: Path, environment: dict[str, str], rows: int) -> Path:
    """Start a run, kill it when it has kept so many rows, and return its journal.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    process = subprocess.Popen(command, cwd=out.parent, env=os.environ | environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + DEADLINE
    try:
        while process.poll() is None and time.monotonic() < end:
            for journal in out.parent.glob(f".{out.name}.*.partial/{ROWS}"):
                if journal.read_bytes().count(b"\n") >= rows:
                    return journal
            time.sleep(0.05)
        raise RuntimeError(f"{' '.join(command)} kept no {rows} rows")
    finally:
        for pid in family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def repeat_rows(journal: Path, rows: int, count: int) -> None:
    """Make a journal of the first `rows` of one, again and again, until there are `count`."""
    with journal.open("rb") as file:
        lines = list(islice(file, rows))
    with journal.open("wb") as file:
        file.writelines(islice(cycle(lines), count))
