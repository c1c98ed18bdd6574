"""Compare our service with FastAPI around Keras and with MLflow's own server: `python -m benchmarks.serving`.

Each is a server process on the loopback, one at a time, and gets the same images. `plain_server` sees one view of an
image and ours two, so ours does twice the work. MLflow's server (`mlflow models serve`) has the same ONNX model, takes
a tensor as JSON and answers logits and maps; its clients decode the file and write the JSON.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from benchmarks.client import PREDICT, Client, form
from benchmarks.load import radiographs
from benchmarks.machine import machine
from benchmarks.process import TOP, Server, running, serving
from benchmarks.table import Row, publish
from benchmarks.throughput import MLFLOW, OURS, per_second
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.registry.versions import Registry
from chestxray.tracking.mlflow_runs import Run

MAPS = "?heatmaps=inline&heatmaps_for=all"
WARM_UP = 2
CLIENTS = 8
NAME = "chest-xray"
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


@contextmanager
def mlflow_serving(folder: Path, bundle: Path) -> Iterator[Server]:
    """Start `mlflow models serve` of the bundle, registered in a separate store as the pipeline registers it."""
    folder.mkdir(parents=True)
    store = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(store)
    experiment = client.create_experiment(NAME, artifact_location=(folder / "artifacts").as_uri())
    run = Run(client, client.create_run(experiment).info.run_id)
    weights = bundle / MODEL  # in place of the weights, which nobody reads
    registry = Registry(client, NAME)
    registry.promote(registry.register(run, bundle, weights))
    options = ["-m", f"models:/{NAME}@champion", "--env-manager", "local", "--host", "127.0.0.1", "--port", "{port}"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it looks for uvicorn there
    with running(command, folder, {"MLFLOW_TRACKING_URI": store, "PATH": path}) as server:
        server.wait_for("/ping")
        yield server


def measure(folder: Path, bundle: Path, files: list[bytes], n: int) -> dict[str, Figures]:
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
        found["mlflow"] = {"per second": rate, "resident": server.resident()}
    with serving(folder / "ours", bundle) as server:
        found["ours"] = {
            "single": milliseconds(server.port, PREDICT, bodies, n),
            "heatmaps": milliseconds(server.port, PREDICT + MAPS, bodies, n),
            "overhead": overheads(server.port, bodies, n),
            "per second": per_second(server.port, OURS, files, size, CLIENTS, max(1, n // 2)),
            "resident": server.resident(),
        }
    return found


def table_rows(found: dict[str, Figures], n: int) -> list[Row]:
    """Return medians, rates and memory side by side; a ratio above 1 is in favour of ours."""
    plain = found["plain"]
    mlflow = found["mlflow"]
    ours = found["ours"]
    rows: list[Row] = []
    for figure, key in (("p50 ms", "single"), ("p50 ms, all 14 heatmaps", "heatmaps")):
        theirs_ms = np.median(plain[key])
        ours_ms = np.median(ours[key])
        cells = {"plain": f"{theirs_ms:.1f}", "MLflow": "", "ours": f"{ours_ms:.1f}"}
        counts = f"{len(plain[key])}, {len(ours[key])}"
        rows.append({"figure": figure, **cells, "ratio": f"{theirs_ms / ours_ms:.1f}", "n": counts})
    ours_rate = ours["per second"]
    mlflow_rate = mlflow["per second"]
    cells = {"MLflow": f"{mlflow_rate:.1f}", "ours": f"{ours_rate:.1f}", "ratio": f"{ours_rate / mlflow_rate:.1f}"}
    rows.append({"figure": f"answers a second, {CLIENTS} clients", **cells, "n": str(CLIENTS * (n // 2))})
    extra = f"{np.median(ours['overhead']):.1f}"
    rows.append({"figure": "p50 ms beside decoding and inference", "ours": extra, "n": str(n)})
    for other, label in ((plain, "plain"), (mlflow, "MLflow")):
        ratio = other["resident"] / ours["resident"]
        sizes = {label: f"{other['resident']:.0f}", "ours": f"{ours['resident']:.0f}", "ratio": f"{ratio:.1f}"}
        rows.append({"figure": f"resident MiB, against {label}", **sizes})
    return rows


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--n", type=int, default=60, help="requests of each kind; a tenth of plain's with heatmaps")
    parser.add_argument("--out", type=Path, help="a folder for serving.md and serving.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.bundle, radiographs(4), options.n)
    heading = f"Ours against FastAPI with Keras and against MLflow's server, synthetic phantoms; {machine()}"
    publish("serving", heading, table_rows(found, options.n), {"figures": found}, options.out)


if __name__ == "__main__":
    main()
