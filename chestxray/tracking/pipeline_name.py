"""Name a run by what it is: the batches and the date of their tables, the recipe, and what was turned for it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from chestxray.params import Params
from chestxray.tracking.nested import flatten
from chestxray.tracking.repository import committed
from chestxray.tracking.state import outside_tables

MOST = 3
"""Of batches, and of params that were turned, that are named."""
NAMED = ("batches.", "findings.", "train.warm_start", "fine_tune.from_layer", "fine_tune.epochs", "evaluate.benchmark")
"""Params that the name says already, or that follow from its batches."""


def pipeline_name(params: Params) -> str:
    """Return the name of a state of the pipeline, such as "nih, site2 (tables of 2026-03-02): block_13, 4 epochs".

    The date is that of the newest table; phantoms, which a stage draws, have none. What differs from the `params.yaml`
    that is committed stands at the end.

    Args:
        params: the whole of `params.yaml`.
    """
    newest = max((file.stat().st_mtime for file in outside_tables(params) if file.is_file()), default=None)
    date = f" (tables of {datetime.fromtimestamp(newest, UTC):%Y-%m-%d})" if newest else ""
    return ", ".join([f"{_few(params.batches)}{date}: {_recipe(params)}", *_turned(params)])


def _recipe(params: Params) -> str:
    warm = params.train.warm_start
    start = f"from version {warm.rpartition('/')[2]}, " if warm else ""
    tuning = params.fine_tune
    epochs = f"{tuning.epochs} epoch{'' if tuning.epochs == 1 else 's'}"
    return f"{start}{tuning.from_layer}, {epochs}" if tuning.epochs else f"{start}head alone"


def _turned(params: Params) -> list[str]:
    """Return the params that differ from those committed, as "train.l2 3.0"; none outside git."""
    try:
        before = _flat(Params.model_validate(YAML(typ="safe").load(committed("params.yaml"))))
    except (YAMLError, ValueError):  # of another age, or none
        return []
    changes = [f"{key} {value}"[:60] for key, value in _flat(params).items() if before.get(key) != value]
    return [_few(changes)] if changes else []


def _flat(params: Params) -> Mapping[str, Any]:
    flat = flatten(params.model_dump(mode="json", by_alias=True))
    return {key: value for key, value in flat.items() if not key.startswith(NAMED)}


def _few(names: Iterable[str]) -> str:
    """Join a few names, and say how many more there are."""
    listed = list(names)
    more = len(listed) - MOST
    return ", ".join([*listed[:MOST], *([f"{more} more"] if more > 0 else [])])
