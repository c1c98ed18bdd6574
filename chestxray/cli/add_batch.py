"""Check a new batch, say what it brings, and list it in `params.yaml`."""

import argparse
from pathlib import Path
from typing import Any

from chestxray.cli.params_edit import apply_edits
from chestxray.cli.reading_options import add_reading_options, reading_params
from chestxray.datasets.arrival import Arrival, examine
from chestxray.datasets.benchmark import benchmark_batches
from chestxray.datasets.tables.rejections import shown
from chestxray.errors import UserError, one_line
from chestxray.params import Params, load_params
from chestxray.registry.versions import Registry
from chestxray.system.files import read_json, write_text
from chestxray.system.sole_writer import sole_writer
from chestxray.tracking.store import open_store

PARAMS = Path("params.yaml")
BENCHMARK = Path("reports/benchmark.json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", help="of the batch")
    parser.add_argument("root", type=Path, help="its folder")
    add_reading_options(parser)
    parser.add_argument("--warm-start", help="@champion, the number of a registered version, or none")


def run(options: argparse.Namespace) -> int:
    """Add the batch; one that can't be used changes nothing."""
    load_params(PARAMS)  # a fault in it is said first
    with sole_writer(PARAMS, f"adding a batch to {PARAMS}"):
        return _add(options, load_params(PARAMS))


def _add(options: argparse.Namespace, params: Params) -> int:
    try:
        arrival = examine(options.name, options.root, params, reading_params(options))
        with PARAMS.open(encoding="utf-8", newline="") as file:
            text = file.read()
        write_text(PARAMS, apply_edits(text, params_edits(arrival, options.warm_start or None, params)))
    except (ValueError, OSError) as error:
        said = one_line(error) if isinstance(error, OSError) else str(error)
        raise UserError(
            f"batch {shown(options.name)} was not added: {said.rstrip('.')}. {PARAMS} is unchanged."
        ) from error
    print(arrival.describe())
    print(f"start     {load_params(PARAMS).train.warm_start or 'cold: the trained head'}")
    print(f"added to {PARAMS}; next: dvc repro")
    return 0


def params_edits(arrival: Arrival, warm_start: str | None, params: Params) -> dict[str, Any]:
    """Return the edits of `params.yaml` that add a batch, by dotted key.

    Args:
        arrival: the batch.
        warm_start: `@alias` or number of a registered version, "none", or None to leave it as it is.
        params: with the name of the registered model.

    Raises:
        ValueError: there is no such version.
    """
    edits: dict[str, Any] = {f"batches.{arrival.name}": arrival.entry}
    if warm_start == "none":
        edits["train.warm_start"] = None
    elif warm_start is not None:
        edits["train.warm_start"] = str(Registry(open_store(), params.register_.model).pin(warm_start))
    benchmark = read_json(BENCHMARK)["benchmark_set"] if BENCHMARK.is_file() else {}
    if params.evaluate.benchmark_sha256 is None and benchmark.get("batches") == "+".join(benchmark_batches(params)):
        edits["evaluate.benchmark_sha256"] = benchmark["sha256"]  # from now on the yardstick is fixed
    return edits
