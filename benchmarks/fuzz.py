"""Mutated files into the decoder: `python -m benchmarks.fuzz --inputs 100000 --seed 0` counts what comes out.

A worker process on each core decodes one input at a time. What must not happen is listed and the input is kept, named
by its seed and number: the worker dies, another exception than RadiographError comes out, an input takes more than
250 ms of processor time (the worker's and that of the process for JPEG-LS; the best of three) or than 32 MiB more
memory at the worker's peak, or there is no answer within 10 s.
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

import numpy as np

from benchmarks.machine import machine
from benchmarks.mutation import mutated, seeds
from benchmarks.process import kibibytes
from benchmarks.table import markdown
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError

SECONDS, MEBIBYTES, HANGS_AFTER, TIMES = 0.25, 32.0, 10.0, 3
ADDRESS_SPACE = 2 * 1024**3
MAX_PIXELS = 1_000_000
"""Time and memory of a good file grow with its pixels: the bounds above are for a megapixel."""

Outcomes = Counter[tuple[str, str]]
"""Kind of file, outcome → how often."""


def make_input(number: int, seed: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """The kind and the bytes of an input, always the same for a number and a seed."""
    kind = list(files)[number % len(files)]
    return kind, mutated(files[kind], np.random.default_rng([seed, number]))


def _decode(data: bytes) -> tuple[str, float, float]:
    """The outcome, seconds, and the MiB at the peak above those before."""
    Path("/proc/self/clear_refs").write_text("5")
    before, started = kibibytes(os.getpid(), "status", "VmRSS"), _processor_seconds()
    try:
        decode(data, MAX_PIXELS)
        outcome = "decoded"
    except RadiographError as error:
        outcome = error.kind
    except BaseException as error:  # is what is looked for
        outcome = f"EXCEPTION {type(error).__name__}"
    seconds = _processor_seconds() - started
    return outcome, seconds, (kibibytes(os.getpid(), "status", "VmHWM") - before) / 1024


def _processor_seconds() -> float:
    """Of this process and those that it started."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def _work(connection: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # what codecs of C say
    for file in seeds().values():
        decode(file)  # the codecs are loaded
    connection.send("ready")
    while data := connection.recv():
        outcome, seconds, mebibytes = _decode(data)
        for _ in range(TIMES - 1 if seconds > SECONDS else 0):  # a page fault or a cold cache is no finding
            seconds = min(seconds, _decode(data)[1])
        connection.send((outcome, seconds, mebibytes))


def _start() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")  # threads and fork don't go together
    here, there = context.Pipe()
    worker = context.Process(target=_work, args=(there,), daemon=True)
    worker.start()
    there.close()
    here.recv()
    return worker, here


def run(numbers: range, seed: int, keep: Path) -> tuple[Outcomes, list[str]]:
    """Decodes the inputs of these numbers in a worker process.

    Args:
        numbers: of the inputs.
        seed: of all inputs.
        keep: the folder for inputs to which happened what must not.

    Returns:
        The outcomes, and what must not happen, a line each.
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
            outcome, seconds, mebibytes = connection.recv()
        except (EOFError, OSError) as error:
            outcome, seconds, mebibytes = "HANG" if isinstance(error, TimeoutError) else "CRASH", 0.0, 0.0
            worker.kill()
            worker.join()
            worker, connection = _start()
        counts[kind, outcome] += 1
        if outcome[:4] in ("EXCE", "HANG", "CRAS") or seconds > SECONDS or mebibytes > MEBIBYTES:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{seed}-{number}").write_bytes(data)
            listed.append(f"{number} ({kind}): {outcome}, {1000 * seconds:.0f} ms, {mebibytes:.0f} MiB")
    connection.send(b"")
    worker.join()
    return counts, listed


def main(arguments: list[str]) -> int:
    """Returns 1 if anything happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(".cache/fuzz"), help="a folder for bad inputs")
    given = parser.parse_args(arguments)
    started, cores = time.monotonic(), len(os.sched_getaffinity(0))
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
