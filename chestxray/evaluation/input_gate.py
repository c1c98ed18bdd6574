"""Measure on test images what the input gate refuses: good ones, altered ones, and each kind of others."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.inference.onnx_model import OnnxModel, Single
from chestxray.metrics.ranking import DECIMALS
from chestxray.metrics.shares import measure_shares
from chestxray.tracking.progress import progress
from chestxray.training.unlike_images import NAMED, OTHER, Draw, altered

GOOD = "good"
IMAGES = 150
"""At most, of each kind: the interval of a share near 1 is some 3 % wide."""
IMAGES_AT_ONCE = 8
COLUMNS = ["kind", "n", "refused", "share", "low", "high", "check"]


def gate_table(model: OnnxModel, test: Dataset, good: Single, seed: int) -> pd.DataFrame:
    """Tabulate the share of test images that the gate refuses, as they are and made into other kinds of images.

    Args:
        model: with a gate.
        test: the test images, N.
        good: scores of the test images as they are, float32 N × G.
        seed: of what is drawn.

    Returns:
        A row for the good images, for those of each batch where there are several, and for each kind: `kind`, `n`,
        `refused`, `share` with its 95 % interval over patients `low` and `high` (NaN of one patient), and `check`, the
        one that most of them are refused by, empty if none is.
    """
    tables = [good_images(model, test, good)]
    patients = test.patients
    kinds: dict[str, Draw] = {"altered": altered, **NAMED, **OTHER}
    for kind, draw in kinds.items():
        chosen = np.unique(np.linspace(0, len(patients) - 1, min(IMAGES, len(patients))).astype(int))
        drawn = _drawn(test, chosen, draw, [seed, *kind.encode()])
        chunks = progress(drawn, f"input gate, {kind}", len(chosen), count=len)
        scores = np.concatenate([model.logits_and_gate(chunk)[1] for chunk in chunks])
        tables.append(pd.DataFrame([_row(kind, scores, patients[chosen], model)], columns=COLUMNS))
    return pd.concat(tables, ignore_index=True)


def good_images(model: OnnxModel, test: Dataset, scores: Single, kind: str = GOOD) -> pd.DataFrame:
    """Tabulate the share of images that the gate refuses as they are; the first rows of `gate_table`."""
    batch = test.studies["batch"].to_numpy()
    rows = [_row(kind, scores, test.patients, model)]
    if len(np.unique(batch)) > 1:
        each = {name: batch == name for name in np.unique(batch)}
        rows += [_row(f"{kind}, {name}", scores[images], test.patients[images], model) for name, images in each.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def gate_facts(model: OnnxModel, table: pd.DataFrame, fitted: dict[str, Any]) -> dict[str, Any]:
    """Put together what the card of a bundle says of the gate.

    Args:
        model: with a gate.
        table: as `gate_table` makes it.
        fitted: the metrics of fitting it.
    """
    gate = model.input_gate
    rows = ({name: value for name, value in row.items() if not pd.isna(value)} for row in table.to_dict("records"))
    test = {row.pop("kind"): row for row in rows}
    return {"thresholds": dict(zip(gate.names, gate.thresholds, strict=True)), "fitted": fitted, "test": test}


def _drawn(images: Dataset, rows: npt.NDArray[np.intp], draw: Draw, seed: list[int]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield what a function makes of some images, a few at a time: uint8 n × S × S × 1."""
    for start in range(0, len(rows), IMAGES_AT_ONCE):
        chunk = rows[start : start + IMAGES_AT_ONCE]
        made = [draw(images.pixels(row), np.random.default_rng([*seed, row])) for row in chunk]
        yield np.stack(made)[..., None]


def _row(
    kind: str, scores: Single, patients: npt.NDArray[np.str_], model: OnnxModel
) -> tuple[str, int, int, float, float, float, str]:
    """Count the images of a kind that are refused."""
    found = model.input_gate.found(scores)
    refused = found.any(axis=1, keepdims=True)
    count = int(refused.sum())
    ends = (np.nan, np.nan)
    if len(np.unique(patients)) > 1:
        share = measure_shares(refused, np.ones_like(refused), patients, min_patients=2)
        ends = (round(float(share.low[0]), DECIMALS), round(float(share.high[0]), DECIMALS))
    most = model.input_gate.names[int(found.sum(axis=0).argmax())] if count else ""
    return kind, len(scores), count, round(count / len(scores), DECIMALS), *ends, most
