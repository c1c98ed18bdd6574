"""Say in a line how the figures of this run compare with the committed ones: was the model reproduced?"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from chestxray.batch_layout import PHANTOM_ROOT, UPDATE_ROOT
from chestxray.evaluation.metrics_tables import COUNTS
from chestxray.tracking.repository import changed, committed, git_commit, repository

METRICS = "reports/metrics.json"
LOCK = "dvc.lock"
MAKES_FIGURES = ("params.yaml", "dvc.yaml", "chestxray", "stages", "requirements.txt")
TOLERANCE = 0.2
"""Of the width of a figure's 95 % interval: what counts as the same (docs/evaluation.md says why)."""
WITHOUT_INTERVAL = 0.02
BASELINE = 'git commit -m "Figures of this machine" -- dvc.lock reports'
DIGITS = 12
"""Of a commit."""

Metrics = Mapping[str, Mapping[str, float]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    print(compare_with_commit())
    return 0


def compare_with_commit() -> str:
    """Say how the figures compare with those of the commit that is checked out, or why there is nothing to compare."""
    before, lock = committed(METRICS), committed(LOCK)
    if not before or not lock:
        return f"Nothing to compare these figures with: no commit here has {METRICS}."
    edited = changed(*MAKES_FIGURES)
    if edited:
        return f"Nothing to compare these figures with: {edited[0]} is not as in the commit."
    top = repository()
    if given_data(lock) != given_data((top / LOCK).read_text(encoding="utf-8")):
        return "Nothing to compare these figures with: the data are not those of the commit."
    there, here = _metrics(before), _metrics((top / METRICS).read_text(encoding="utf-8", errors="replace"))
    if not there or not here:
        which = "here is not what `evaluate` writes; run dvc repro" if there else "of the commit is of another kind"
        return f"Nothing to compare these figures with: {METRICS} {which}."
    said = comparison(there, here)
    return f"{said} (commit {git_commit()[:DIGITS]}). {_meaning(said)}"


def _meaning(said: str) -> str:
    """Say what a comparison means for the one who ran it."""
    if not changed("reports", LOCK):
        return "All reports are equal to the byte."
    if not said.startswith("reproduced"):
        return "That is more than another CPU's last digits: look for what differs in packages and data."
    return f"Another CPU gives other last digits; to make this run the baseline: {BASELINE}"


def _metrics(text: str) -> Metrics | None:
    """Read the text of `metrics.json`; None if it is none, or not one that can be compared."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    parts = content.values() if isinstance(content, dict) else ()
    numbers = [value for part in parts if isinstance(part, dict) for value in part.values()]
    known = all(isinstance(part, dict) for part in parts) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in numbers
    )
    return content if numbers and known else None


def given_data(lock: str) -> dict[str, str]:
    """Return the digests of the batches' folders in the text of a `dvc.lock`, but of those that the pipeline draws."""
    stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
    return {
        dep["path"]: dep["md5"]
        for name, stage in stages.items()
        if name.startswith("decode@")
        for dep in stage["deps"]
        if not dep["path"].startswith(("chestxray", "stages")) and dep["path"] not in (PHANTOM_ROOT, UPDATE_ROOT)
    }


def comparison(before: Metrics, after: Metrics) -> str:
    """Say whether figures are the same within their tolerances, and which differs most.

    Args:
        before: of the commit, as `metrics_with_intervals` gives them.
        after: of this run.

    Example:
        >>> there = {"test": {"mean_auroc": 0.9, "mean_auroc_ci_low": 0.88, "mean_auroc_ci_high": 0.92}}
        >>> comparison(there, {"test": {"mean_auroc": 0.902}})
        'reproduced: largest difference test.mean_auroc 0.902, committed 0.900, tolerance 0.008'
    """
    counts = [
        f"{part}.{name} is {after.get(part, {}).get(name)}, committed {value}"
        for part, name, value in _figures(before)
        if name in COUNTS and after.get(part, {}).get(name) != value
    ]
    if counts:
        return f"not reproduced: {counts[0]}"
    share, said = 0.0, "no difference of a headline"
    for part, name, value in _figures(before):
        figure = after.get(part, {}).get(name)
        if name in COUNTS or "_ci_" in name:
            continue
        if figure is None:
            return f"not reproduced: {part}.{name} was not measured"
        tolerance = _tolerance(before[part], name)
        if abs(figure - value) / tolerance > share:
            share = abs(figure - value) / tolerance
            said = f"largest difference {part}.{name} {figure:.3f}, committed {value:.3f}, tolerance {tolerance:.3f}"
    return f"{'reproduced' if share <= 1 else 'not reproduced'}: {said}"


def _figures(metrics: Metrics) -> Iterator[tuple[str, str, float]]:
    for part, figures in metrics.items():
        for name, value in figures.items():
            yield part, name, value


def _tolerance(figures: Mapping[str, Any], name: str) -> float:
    low, high = (figures.get(f"{name}_ci_{end}") for end in ("low", "high"))
    return WITHOUT_INTERVAL if low is None or high is None or high <= low else TOLERANCE * (high - low)
