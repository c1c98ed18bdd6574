"""Mutated files into the decoder: `python -m benchmarks.fuzz --inputs 100000 --seed 0` counts what comes out.

A worker process decodes one input at a time. What must not happen is listed, with the number of the input, from which
with the seed it can be made again: the worker dies, another exception than RadiographError comes out, an input takes
more than 250 ms of processor time, or more than 32 MiB more memory than any before it.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections import Counter
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.table import markdown
from chestxray.radiograph import RadiographError, decode
from tests.dicom_files import SYNTAXES, dicom
from tests.serve.files import JPEG, PNG

SECONDS, KIBIBYTES, HANGS_AFTER = 0.25, 32 * 1024, 10.0
ADDRESS_SPACE = 2 * 1024**3
TOKENS = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xd9", b"\xff\xda", b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"SQ\0\0\xff\xff\xff\xff",
)  # fmt: skip
SMOOTH = np.add.outer(np.arange(64) * 3, np.arange(48)).astype(np.uint8)


def seeds() -> dict[str, bytes]:
    """A valid file of each kind."""
    files = {"PNG": PNG, "JPEG": JPEG}
    return files | {f"DICOM {syntax.name}": dicom(SMOOTH, syntax, ViewPosition="PA") for syntax in SYNTAXES}


def mutated(valid: bytes, generator: np.random.Generator) -> bytes:
    """A few edits: bytes set, bits flipped, tokens put in, pieces cut, doubled or moved, or the end cut off."""
    data = bytearray(valid)
    for _ in range(generator.integers(1, 9)):
        size = max(len(data), 1)
        # Headers are where the decisions are.
        place = int(generator.integers(min(size, 600) if generator.random() < 0.5 else size))
        length = int(generator.integers(1, 65))
        match generator.integers(6):
            case 0:
                data[place : place + 1] = generator.bytes(1)
            case 1:
                data[place : place + 1] = bytes([data[place] ^ 1 << int(generator.integers(8))]) if data else b""
            case 2:
                token = TOKENS[generator.integers(len(TOKENS))]
                data[place : place + len(token)] = token
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + length]
            case _ if generator.random() < 0.2:
                del data[place:]
    return bytes(data)


def _input(number: int, seed: int, files: list[bytes]) -> bytes:
    generator = np.random.default_rng([seed, number])
    return mutated(files[number % len(files)], generator)


def _work(connection: Connection, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    files = list(seeds().values())
    for file in files:
        decode(file)  # the codecs are loaded
    connection.send("ready")
    while (number := connection.recv()) is not None:
        data = _input(number, seed, files)
        memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            decode(data, 1_000_000)
            outcome = "decoded"
        except RadiographError as error:
            outcome = error.kind
        except BaseException as error:  # is what is looked for
            outcome = f"EXCEPTION {type(error).__name__}"
        seconds = time.process_time() - started
        connection.send((outcome, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory))


def run(first: int, last: int, step: int, seed: int) -> tuple[Counter[tuple[int, str]], list[str]]:
    """Decodes the inputs `first`, `first + step`, … below `last`.

    Returns:
        How often each kind of file had each outcome, and what must not happen.
    """
    counts: Counter[tuple[int, str]] = Counter()
    listed: list[str] = []
    names = list(seeds())
    worker, connection = _start(seed)
    for number in range(first, last, step):
        connection.send(number)
        try:
            if not connection.poll(HANGS_AFTER):
                raise EOFError
            outcome, seconds, kibibytes = connection.recv()
        except (EOFError, ConnectionError):
            outcome, seconds, kibibytes = "HANG" if worker.is_alive() else "CRASH", 0.0, 0
            worker.kill()
            worker.join()
            worker, connection = _start(seed)
        counts[number % len(names), outcome] += 1
        if outcome.isupper() or outcome.startswith("EXCEPTION") or seconds > SECONDS or kibibytes > KIBIBYTES:
            name = names[number % len(names)]
            listed.append(f"{number} {name}: {outcome}, {1000 * seconds:.0f} ms, {kibibytes / 1024:.0f} MiB more")
    connection.send(None)
    worker.join()
    return counts, listed


def _start(seed: int) -> tuple[multiprocessing.Process, Connection]:
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.Process(target=_work, args=(there, seed), daemon=True)
    worker.start()
    there.close()
    here.recv()
    return worker, here


def main(arguments: list[str]) -> int:
    """Returns 1 if anything happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    counts, listed = run(0, given.inputs, 1, given.seed)
    outcomes = sorted({outcome for _, outcome in counts})
    rows = [
        {"file": name} | {outcome: f"{counts[place, outcome]:,}" for outcome in outcomes}
        for place, name in enumerate(seeds())
    ]
    print(f"{given.inputs:,} mutated files, seed {given.seed}\n\n{markdown(rows)}\n")
    print("\n".join(listed) or "no crash, no other exception, none over 250 ms or 32 MiB")
    return int(bool(listed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
