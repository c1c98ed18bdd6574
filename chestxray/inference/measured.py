"""Check the metrics of a bundle's card: each is a number of its kind, so that who shows it need not ask."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

PARTS = ("test", "benchmark")
"""Of the test images; each batch is another."""
ENDS = r"(_ci_(low|high))?"
RANKED_OR_DECIDED = r"auroc|average_precision|f1|recall|specificity|precision|npv"
BY_FINDING = re.compile(rf"(({RANKED_OR_DECIDED}){ENDS})|positives|labelled")
"""Metrics with a number a finding."""
OVERALL = re.compile(
    rf"(mean|macro|micro|weighted)_({RANKED_OR_DECIDED})(_of_all)?{ENDS}|calibration_error(_before)?|subset_accuracy"
    "|hamming_loss"
)
"""Metrics of all findings, in 0..1 as those by finding are."""
COUNTS = ("n", "patients", "findings_scored", "findings_averaged", "patients_known", "positives", "labelled")


def check_metrics(metrics: Mapping[str, Any], headlines: Mapping[str, str]) -> None:
    """Check metrics, and that those shown first are known; of names that are not, that they are numbers.

    Args:
        metrics: `metrics` of a card.
        headlines: of the card.

    Raises:
        ValueError: the text repeats nothing but names of metrics.
    """
    for part in _parts(metrics):
        for name, value in part.items():
            _check_metric(name, value)
    if not all(OVERALL.fullmatch(name) for name in headlines):
        raise ValueError("headlines must be of metrics of all findings")


def _parts(metrics: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in [*(metrics[name] for name in PARTS if name in metrics), *_values(metrics.get("batch", {}))]:
        if not isinstance(part, Mapping):
            raise ValueError("each part of metrics must be an object of numbers")
        yield part


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _check_metric(name: str, value: Any) -> None:
    by_finding, overall = (bool(kind.fullmatch(name)) for kind in (BY_FINDING, OVERALL))
    known = by_finding or overall or name in COUNTS
    shown = name if known else "one of its values"
    if known and isinstance(value, Mapping) != by_finding:
        raise ValueError(f"metrics: {shown} must be {'a number for each finding' if by_finding else 'one number'}")
    for number in _values(value):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"metrics: {shown} must be a number")
        if name in COUNTS and (number < 0 or not isinstance(number, int)):
            raise ValueError(f"metrics: {shown} must be a number of cases")
        if known and name not in COUNTS and not 0 <= number <= 1:
            raise ValueError(f"metrics: {shown} must be a number from 0 to 1")
