"""Decode mutated files and count the outcomes: `python -m benchmarks.fuzz --inputs 100000 --seed 0`.

A worker process on each core decodes one input at a time. A failure is listed and its input kept, named by seed and
number. A failure is: the worker dies, an exception other than RadiographError is raised, an input takes more than
250 ms of processor time (the worker's and that of its process for codecs) or, in the worker, more than 32 MiB, in both
more than 128 MiB above the memory before (the best of three), or there is no answer within 10 s. The process for codecs
may die, which is counted; the next input is decoded by another one.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.machine import machine
from benchmarks.mutation import mutated, seeds
from benchmarks.process import family, kibibytes
from benchmarks.table import markdown
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError

SECONDS = 0.25
MEBIBYTES = 32.0
MEBIBYTES_OF_BOTH = 128.0
HANGS_AFTER = 10.0
TIMES = 3
ADDRESS_SPACE = 2 * 1024**3
MAX_PIXELS = 1_000_000
"""Time and memory of a good file grow with its pixels: the bounds above are for a megapixel."""

Outcomes = Counter[tuple[str, str]]
"""Kind of file, outcome → how often."""


def make_input(number: int, seed: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Return the kind and the bytes of an input, the same for the same number and seed."""
    kind = list(files)[number % len(files)]
    return kind, mutated(files[kind], np.random.default_rng([seed, number]))


class Cost(NamedTuple):
    """Of an input: processor time, and peak of memory above that before, in the worker and in its codecs' process."""

    seconds: float
    worker: float
    codecs: float

    @property
    def excessive(self) -> bool:
        """Whether it is a failure."""
        return self.seconds > SECONDS or self.worker > MEBIBYTES or self.worker + self.codecs > MEBIBYTES_OF_BOTH


def _decode(data: bytes) -> tuple[str, Cost]:
    """Decode; return the outcome and what it cost."""
    pids = family(os.getpid())
    before = [_memory(pid, "VmRSS") for pid in pids]
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    started = _processor_seconds()
    try:
        decode(data, MAX_PIXELS)
        outcome = "decoded"
    except RadiographError as error:
        outcome = error.kind
    except BaseException as error:  # the failure that is looked for
        outcome = f"EXCEPTION {type(error).__name__}"
    seconds = _processor_seconds() - started
    grown = [_memory(pid, "VmHWM") - least for pid, least in zip(pids, before, strict=True)]
    died = len(pids) > 1 and pids[1:] != family(os.getpid())[1:]
    return f"{outcome}, codec died" if died else outcome, Cost(seconds, grown[0], max([0, *grown[1:]]))


def _memory(pid: int, field: str) -> float:
    """Return mebibytes; none of a process that is gone."""
    try:
        return kibibytes(pid, "status", field) / 1024
    except (OSError, ValueError):
        return 0.0


def _processor_seconds() -> float:
    """Return the processor time of this process and those that it started."""
    used = os.times()
    alive = sum(_nanoseconds(pid) for pid in family(os.getpid())[1:])
    return time.process_time() + used.children_user + used.children_system + alive / 1e9


def _nanoseconds(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        return 0


def _work(connection: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # drops the messages of codecs in C
    files = list(seeds().values())
    for file in files:
        decode(file)  # loads the codecs
    connection.send("ready")
    while data := connection.recv():
        outcome, cost = _decode(data)
        for _ in range(TIMES - 1):  # a page fault, a cold cache or a process that starts is no failure
            if cost.excessive:
                cost = Cost(*map(min, cost, _decode(data)[1]))
        if "died" in outcome:
            decode(files[-1])  # starts another
        connection.send((outcome, cost))


def _start() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # threads and fork don't go together
    here, there = context.Pipe()
    worker = context.Process(target=_work, args=(there,), daemon=True)
    worker.start()
    there.close()
    here.recv()
    return worker, here


def run(numbers: range, seed: int, keep: Path) -> tuple[Outcomes, list[str]]:
    """Decode the inputs of these numbers in a worker process.

    Args:
        numbers: of the inputs.
        seed: of all inputs.
        keep: the folder for inputs that fail.

    Returns:
        The outcomes, and the failures, a line each.
    """
    counts: Outcomes = Counter()
    listed: list[str] = []
    files = seeds()
    worker, connection = _start()
    for number in numbers:
        kind, data = make_input(number, seed, files)
        try:
            connection.send(data or b"\0")
            if not connection.poll(HANGS_AFTER):
                raise TimeoutError
            outcome, cost = connection.recv()
        except (EOFError, OSError) as error:
            outcome = "HANG" if isinstance(error, TimeoutError) else "CRASH"
            cost = Cost(0, 0, 0)
            worker.kill()
            worker.join()
            worker, connection = _start()
        counts[kind, outcome] += 1
        if outcome[:4] in ("EXCE", "HANG", "CRAS") or cost.excessive:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{seed}-{number}").write_bytes(data)
            memory = f"{cost.worker:.0f} + {cost.codecs:.0f} MiB"
            listed.append(f"{number} ({kind}): {outcome}, {1000 * cost.seconds:.0f} ms, {memory}")
    connection.send(b"")
    worker.join()
    return counts, listed


def main(arguments: list[str]) -> int:
    """Print the outcomes by kind of file and the failures; return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(".cache/fuzz"), help="a folder for bad inputs")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        shares = [range(core, given.inputs, cores) for core in range(cores)]
        results = list(pool.map(lambda share: run(share, given.seed, given.keep), shares))
    counts: Outcomes = sum((result[0] for result in results), Counter())
    outcomes = sorted({outcome for _, outcome in counts})
    rows = [{"file": kind} | {outcome: f"{counts[kind, outcome]:,}" for outcome in outcomes} for kind in seeds()]
    seconds = time.monotonic() - started
    print(f"{given.inputs:,} mutated files, seed {given.seed}, {seconds:.0f} s; {machine()}\n\n{markdown(rows)}\n")
    listed = [line for result in results for line in result[1]]
    print(
        "\n".join(listed) or f"No crash, no other exception, none over {1000 * SECONDS:.0f} ms or {MEBIBYTES:.0f} MiB."
    )
    return int(bool(listed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
