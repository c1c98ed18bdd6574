"""Measure the service under load, in real processes on the loopback: `python -m benchmarks.load`.

Scenarios: too many requests, SIGTERM under load, a model that changes under load, memory under large uploads, and a
soak with probes. Nothing passes or fails here; `tests/serve/test_load.py` and `test_memory.py` run short versions
that do.
"""

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.client import PREDICT, Answer, form
from benchmarks.crowd import Crowd, arrivals, probing
from benchmarks.footprint import measure_footprint
from benchmarks.machine import machine
from benchmarks.process import TOP, Server, serving
from benchmarks.soak import soak
from benchmarks.table import Row, publish
from benchmarks.versions import change_aliases, other_bundle
from chestxray.params import load_params
from chestxray.phantom.batch import write_batch

FACTOR = 4
Figures = dict[str, Any]


def overload(server: Server, body: bytes, seconds: float) -> Figures:
    """Send four times as many requests a second as the server can answer.

    Returns:
        Milliseconds, requests a second, shares and MiB by name.
    """
    with Crowd(server.port, [(PREDICT, body)], 2).asking() as crowd:
        crowd.leave.wait(seconds / 2)
    capacity = len(crowd.answers) / (seconds / 2)
    before = server.resident()
    with probing(server.port, ["/livez"], 0.02) as probes:
        answers = arrivals(server.port, body, FACTOR * capacity, seconds)
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 503]
    return {
        "capacity per second": capacity,
        "offered per second": len(answers) / seconds,
        "n": len(answers),
        "accepted p50 ms": milliseconds(accepted, 50),
        "accepted p95 ms": milliseconds(accepted, 95),
        "share of 503": len(refused) / len(answers),
        "503 p50 ms": milliseconds(refused, 50),
        "503 p95 ms": milliseconds(refused, 95),
        "other answers": len(answers) - len(accepted) - len(refused),
        "livez n": len(probes),
        "livez p99 ms": milliseconds(probes, 99),
        "MiB before": before,
        "MiB after": server.resident(),
    }


def terminations(folder: Path, bundle: Path, body: bytes, times: int) -> Figures:
    """Send SIGTERM repeatedly while eight clients ask; they stop when `/readyz` says 503, as a load balancer does.

    A request is lost if it was sent and not answered with 200.
    """
    asked = 0
    lost = 0
    codes: list[int] = []
    for _ in range(times):
        with serving(folder, bundle) as server, Crowd(server.port, [(PREDICT, body)], 8).asking() as crowd:
            crowd.wait_for(16)
            ended: list[int] = []
            stopping = threading.Thread(target=lambda s=server, e=ended: e.append(s.stop()))
            stopping.start()
            server.wait_for("/readyz", 503)
            crowd.leave.set()
            stopping.join()
        codes += ended
        asked += len(crowd.answers) + len(crowd.errors)
        lost += len(crowd.errors) + sum(answer.status != 200 for answer in crowd.answers)
    return {"SIGTERMs": times, "requests": asked, "lost": lost, "exit codes not 0": sum(map(bool, codes))}


def milliseconds(answers: list[Answer], percentile: float) -> float:
    """Return a percentile of the time to answer in milliseconds; NaN without answers."""
    return 1000 * float(np.percentile([a.seconds for a in answers], percentile)) if answers else float("nan")


def radiographs(count: int, size: int = 1024) -> list[bytes]:
    """Draw phantoms, and return them as PNG files."""
    with tempfile.TemporaryDirectory() as folder:
        params = load_params().phantom.model_copy(update={"studies": count, "patients": count, "size": size})
        write_batch(Path(folder, "batch"), params)
        files = sorted(Path(folder, "batch", "images").glob("*.png"))
        return [cv2.imencode(".png", cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))[1].tobytes() for file in files]


def table_rows(scenario: str, figures: Figures) -> list[Row]:
    """Return a row for each figure."""
    cells = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in figures.items()}
    return [{"scenario": scenario, "figure": name, "value": cell} for name, cell in cells.items()]


def scenarios(folder: Path, files: list[bytes], options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Run the scenarios that `options` ask for, and yield name and figures of each."""
    bundle = options.bundle
    body = form(files[0])
    if options.overload:
        with serving(folder / "overload", bundle) as server:
            yield "overload", overload(server, body, options.overload)
    if options.terminations:
        yield "termination", terminations(folder / "termination", bundle, body, options.terminations)
    if options.changes:
        pair = (bundle, other_bundle(bundle, folder / "other"))
        yield "alias", change_aliases(folder, pair, files[0], options.changes)
    if options.predictions:
        with serving(folder / "footprint", bundle) as server:
            footprint = asdict(measure_footprint(server, bundle, options.predictions))
        yield "memory", {f"MiB {name}": value for name, value in footprint.items()}
    if options.soak:
        yield "soak", soak(folder / "soak", bundle, files, options.soak)


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--overload", type=float, default=20.0, help="seconds; 0 leaves it out, as for the others")
    parser.add_argument("--terminations", type=int, default=50, help="how many SIGTERMs")
    parser.add_argument("--changes", type=int, default=100, help="how many changes of the alias")
    parser.add_argument("--predictions", type=int, default=100, help="how many between two looks at the memory")
    parser.add_argument("--soak", type=float, default=600.0, help="seconds")
    parser.add_argument("--out", type=Path, help="a folder for load.md and load.json")
    options = parser.parse_args()
    files = radiographs(4)
    measured: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        for scenario, figures in scenarios(Path(folder), files, options):
            measured[scenario] = figures
            print(f"{scenario}: {figures}", file=sys.stderr, flush=True)
    rows = [row for scenario, figures in measured.items() for row in table_rows(scenario, figures)]
    publish("load", f"The service under load, synthetic phantoms; {machine()}", rows, measured, options.out)


if __name__ == "__main__":
    main()
