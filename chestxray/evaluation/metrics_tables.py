"""Lay out the metrics of an evaluation: a few headlines to compare runs by, everything else in tables."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from chestxray.metrics.report import ENDS

COUNTS = ("n", "patients", "findings_averaged")
HEADLINES = ("mean_auroc", "mean_average_precision", "macro_f1")
"""Metrics that runs are compared by."""
PARTS = ("test", "benchmark")
"""Parts of the test images that have metrics by finding, of which an evaluation elsewhere has the first; each batch is
another, without."""


def headline_metrics(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Select what fits a line of a terminal: the headlines of `test`, and the first of the `benchmark`.

    Args:
        metrics: of an evaluation: `test`, `benchmark` and `batch`.

    Returns:
        By part and metric; where no finding has enough patients for a mean, the one over all, `<metric>_of_all`. What
        was not measured is absent.
    """
    names = {"test": HEADLINES, "benchmark": HEADLINES[:1]}
    return {part: _select(metrics[part], names[part]) for part in PARTS if part in metrics}


def metrics_with_intervals(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Select at most 25 numbers, however many findings and batches there are: counts, and headlines with intervals.

    Args:
        metrics: of an evaluation: `test`, `benchmark` and `batch`.

    Returns:
        By part (`test`, `benchmark`) and metric, as `headline_metrics`; of `test` the mean calibration error too.
    """
    names = (*COUNTS, *(name for metric in HEADLINES for name in (metric, *(f"{metric}_ci_{end}" for end in ENDS))))
    more = {"test": ("calibration_error",), "benchmark": ()}
    return {part: _select(metrics[part], (*names, *more[part])) for part in PARTS if part in metrics}


def metrics_by_part(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Tabulate what is not by finding: a row for `test`, for `benchmark` and for each batch.

    Returns:
        Columns `part`, `batch` (empty but in rows of a `batch`), then the metrics, empty where not measured.
    """
    parts = [(part, None, metrics[part]) for part in PARTS if part in metrics]
    parts += [("batch", *each) for each in metrics["batch"].items()]
    return pd.DataFrame(
        [
            {
                "part": part,
                "batch": batch,
                **{name: value for name, value in found.items() if not isinstance(value, dict)},
            }
            for part, batch, found in parts
        ]
    )


def metrics_by_finding(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Tabulate what is by finding: a row a finding of `test`, then of `benchmark` if that could be scored.

    Returns:
        Columns `part`, `finding`, `positives`, `labelled` (images that label it), then the metrics with their
        intervals, empty where not measured.
    """
    tables = []
    for part in filter(metrics.__contains__, PARTS):
        by_finding = {name: values for name, values in metrics[part].items() if isinstance(values, dict)}
        if by_finding:
            table = pd.DataFrame(by_finding, index=list(by_finding["labelled"])).rename_axis("finding").reset_index()
            table.insert(0, "part", part)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _select(part: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Select numbers by name; of a mean that is over no finding, the one over all findings that have a value."""
    known = [name if name in part else f"{name}_of_all" for name in names]
    return {name: part[name] for name in known if name in part}
