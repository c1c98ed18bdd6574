"""Serving: ours against FastAPI with Keras (`plain_server`), side by side: `python -m benchmarks.serving`.

Server processes of their own on the loopback, the same images, one request at a time, the ways in turn.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.client import PREDICT, Client, form
from benchmarks.load import radiographs
from benchmarks.machine import machine
from benchmarks.process import TOP, running, serving
from benchmarks.table import Row, publish

MAPS = "?heatmaps=inline&heatmaps_for=all"
WARM_UP = 2


def seconds_of(port: int, path: str, bodies: list[bytes], n: int) -> list[float]:
    """Seconds of `n` requests one after the other, the warm-up left out."""
    with Client(port) as client:
        answers = [client.post(path, bodies[turn % len(bodies)]) for turn in range(WARM_UP + n)]
    failed = [answer.status for answer in answers if answer.status != 200]
    if failed:
        raise RuntimeError(f"{path} was answered with {failed}")
    return [answer.seconds for answer in answers[WARM_UP:]]


def overheads(port: int, bodies: list[bytes], n: int) -> list[float]:
    """Seconds of `n` requests beside decoding, inference and waiting, as the answers tell them."""
    with Client(port) as client:
        answers = [client.post(PREDICT, bodies[turn % len(bodies)]) for turn in range(n)]
    return [answer.seconds - sum(answer.json()["timing_ms"].values()) / 1000 for answer in answers]


def row_of(figure: str, plain: list[float], ours: list[float]) -> Row:
    """Medians in ms and their ratio."""
    p, o = 1000 * np.median(plain), 1000 * np.median(ours)
    n = f"{len(plain)}, {len(ours)}"
    return {"figure": figure, "plain": f"{p:.1f}", "ours": f"{o:.1f}", "ratio": f"{p / o:.1f}", "n": n}


def main() -> None:
    """Prints the table, or writes it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--n", type=int, default=100, help="requests of each kind; a tenth of plain's with heatmaps")
    parser.add_argument("--out", type=Path, help="a folder for serving.md and serving.json")
    options = parser.parse_args()
    bodies, n = [form(file) for file in radiographs(4)], options.n
    command = [sys.executable, "-m", "benchmarks.plain_server"]
    with tempfile.TemporaryDirectory() as name, running(command, Path(name, "plain"), {}) as plain:
        plain.wait_for("/readyz")
        with serving(Path(name, "ours"), options.bundle) as ours:
            few = max(1, n // 10)
            rows = [
                row_of("p50 ms", *(seconds_of(each.port, PREDICT, bodies, n) for each in (plain, ours))),
                row_of(
                    "p50 ms with 14 heatmaps",
                    *(seconds_of(p, PREDICT + MAPS, bodies, k) for p, k in ((plain.port, few), (ours.port, n))),
                ),
            ]
            extra = 1000 * float(np.median(overheads(ours.port, bodies, n)))
            memory = plain.proportional(), ours.proportional()
    rows.append({"figure": "overhead p50 ms", "ours": f"{extra:.1f}", "n": str(n)})
    sizes = {"plain": f"{memory[0]:.0f}", "ours": f"{memory[1]:.0f}", "ratio": f"{memory[0] / memory[1]:.1f}"}
    rows.append({"figure": "memory, MiB of PSS", **sizes})
    publish("serving", f"Ours against FastAPI with Keras, synthetic phantoms; {machine()}", rows, {}, options.out)


if __name__ == "__main__":
    main()
