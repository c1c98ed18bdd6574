"""Compare our service with FastAPI around Keras, with MLflow's own server and with that of another checkout.

`python -m benchmarks.serving --before CHECKOUT`. Each is a server process on the loopback, and gets the same images;
the other checkout's service runs beside ours and they take turns, all others run alone. `plain_server` sees one view of
an image and ours two, so ours does twice the work. MLflow's server (`mlflow models serve`) has the same ONNX model,
takes a tensor as JSON and answers logits and maps; its clients decode the file and write the JSON.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from benchmarks.answers import MLFLOW, OURS, per_second
from benchmarks.client import PREDICT, Client, form
from benchmarks.load import radiographs
from benchmarks.machine import machine
from benchmarks.process import TOP, Server, running, serving
from benchmarks.table import Row, publish
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.registry.versions import Registry
from chestxray.tracking.mlflow_runs import Run

MAPS = "?heatmaps=inline&heatmaps_for=all"
JPEGS = "?heatmaps=jpeg&heatmaps_for=all"
WARM_UP = 2
CLIENTS = 8
ROUNDS = 3
WAYS = ("plain", "MLflow", "before", "ours")
TIMES = {
    "single": "p50 ms",
    "heatmaps": "p50 ms, all 14 heatmaps",
    "jpeg": "p50 ms, all 14 heatmaps, ours as JPEG",
    "overhead": "p50 ms beside decoding and inference",
}
"""What is timed, and what to call it; where others have no "jpeg" their "heatmaps" stand beside ours."""
NAME = "chest-xray"
CHAMPION = f"models:/{NAME}@champion"
Figures = dict[str, Any]


def milliseconds(port: int, path: str, bodies: list[bytes], n: int) -> list[float]:
    """Measure the milliseconds of `n` requests one after the other, without the warm-up."""
    with Client(port) as client:
        answers = [client.post(path, bodies[turn % len(bodies)]) for turn in range(WARM_UP + n)]
    failed = [answer.status for answer in answers if answer.status != 200]
    if failed:
        raise RuntimeError(f"{path} was answered with {failed}")
    return [1000 * answer.seconds for answer in answers[WARM_UP:]]


def overheads(port: int, bodies: list[bytes], n: int) -> list[float]:
    """Measure the milliseconds of `n` requests less those of decoding and inference, which the answers give."""
    with Client(port) as client:
        answers = [client.post(PREDICT, bodies[turn % len(bodies)]) for turn in range(n)]
    timings = [answer.json()["timing_ms"] for answer in answers]
    return [1000 * a.seconds - t["decode"] - t["inference"] for a, t in zip(answers, timings, strict=True)]


def register(folder: Path, bundle: Path) -> str:
    """Register the bundle as `CHAMPION` in a store of its own, as the pipeline does it; returns the store's address."""
    folder.mkdir(parents=True)
    store = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(store)
    experiment = client.create_experiment(NAME, artifact_location=(folder / "artifacts").as_uri())
    run = Run(client, client.create_run(experiment).info.run_id)
    weights = bundle / MODEL  # in place of the weights, which nobody reads
    registry = Registry(client, NAME)
    registry.promote(registry.register(run, bundle, weights))
    return store


@contextmanager
def mlflow_serving(folder: Path, bundle: Path) -> Iterator[Server]:
    """Start `mlflow models serve` of the bundle."""
    store = register(folder, bundle)
    options = ["-m", CHAMPION, "--env-manager", "local", "--host", "127.0.0.1", "--port", "{port}"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it looks for uvicorn there
    with running(command, folder, {"MLFLOW_TRACKING_URI": store, "PATH": path}) as server:
        server.wait_for("/ping")
        yield server


def measure(folder: Path, bundle: Path, files: list[bytes], n: int, before: Path | None) -> dict[str, Figures]:
    """Measure all ways; `n` requests of each kind, a tenth of it for plain with heatmaps."""
    bodies = [form(file) for file in files]
    size = Bundle(bundle).card.size
    found: dict[str, Figures] = {}
    with running([sys.executable, "-m", "benchmarks.plain_server"], folder / "plain", {}) as server:
        server.wait_for("/readyz")
        found["plain"] = {
            "single": milliseconds(server.port, PREDICT, bodies, n),
            "heatmaps": milliseconds(server.port, PREDICT + MAPS, bodies, max(1, n // 10)),
            "resident": server.resident(),
        }
    with mlflow_serving(folder / "mlflow", bundle) as server:
        rate = per_second(server.port, MLFLOW, files, size, CLIENTS, max(1, n // 2))
        found["MLflow"] = {"per second": [rate], "resident": server.resident()}
    with ExitStack() as started:
        servers = {"ours": started.enter_context(serving(folder / "ours", bundle))}
        if before is not None:
            own = before / "models" / "bundle"
            theirs = own if (own / MODEL).is_file() else bundle
            launcher = ("env", "-C", str(before.resolve()))
            servers["before"] = started.enter_context(serving(folder / "before", theirs, *launcher))
        found |= take_turns(servers, files, size, max(1, n // ROUNDS))
    return found


def take_turns(servers: Mapping[str, Server], files: list[bytes], size: int, n: int) -> dict[str, Figures]:
    """Measure services that run side by side, `n` requests of a kind in each round, so that noise falls on all."""
    bodies = [form(file) for file in files]
    found: dict[str, Figures] = {name: {key: [] for key in (*TIMES, "per second")} for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            found[name]["single"] += milliseconds(server.port, PREDICT, bodies, n)
            found[name]["heatmaps"] += milliseconds(server.port, PREDICT + MAPS, bodies, n)
            if name == "ours":
                found[name]["jpeg"] += milliseconds(server.port, PREDICT + JPEGS, bodies, n)
            found[name]["overhead"] += overheads(server.port, bodies, n)
            found[name]["per second"].append(per_second(server.port, OURS, files, size, CLIENTS, n))
    for name, server in servers.items():
        found[name]["resident"] = server.resident()
    return found


def table_rows(found: dict[str, Figures]) -> list[Row]:
    """Return medians, rates and memory side by side; `against plain` 2 means that ours is twice as good as plain."""
    rows = []
    for key, figure in TIMES.items():
        times = {name: ways.get(key) or (ways.get("heatmaps") if key == "jpeg" else []) for name, ways in found.items()}
        medians = {name: float(np.median(each)) for name, each in times.items() if each}
        count = ", ".join(str(len(each)) for each in times.values() if each)
        rows.append(_row(figure, medians, {name: ms / medians["ours"] for name, ms in medians.items()}, count))
    rates = {name: float(np.median(ways["per second"])) for name, ways in found.items() if "per second" in ways}
    better = {name: rates["ours"] / rate for name, rate in rates.items()}
    rows.append(_row(f"answers a second, {CLIENTS} clients", rates, better, ""))
    resident = {name: float(ways["resident"]) for name, ways in found.items()}
    smaller = {name: size / resident["ours"] for name, size in resident.items()}
    return [*rows, _row("resident MiB, child processes included", resident, smaller, "")]


def _row(figure: str, values: Mapping[str, float], ratios: Mapping[str, float], count: str) -> Row:
    others = [name for name in WAYS if name in ratios and name != "ours"]
    cells = {name: f"{values[name]:.1f}" if name in values else "" for name in WAYS}
    return {"figure": figure, **cells, **{f"against {name}": f"{ratios[name]:.1f}" for name in others}, "n": count}


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, with its bundle if it has one")
    parser.add_argument("--n", type=int, default=60, help="requests of each kind; a tenth of plain's with heatmaps")
    parser.add_argument("--out", type=Path, help="a folder for serving.md and serving.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.bundle, radiographs(4), options.n, options.before)
    rows = table_rows(found)
    heading = f"The service beside others, synthetic phantoms; {machine()}"
    columns = dict.fromkeys(key for row in rows for key in row)
    publish("serving", heading, [dict.fromkeys(columns, "") | row for row in rows], {"figures": found}, options.out)


if __name__ == "__main__":
    main()
