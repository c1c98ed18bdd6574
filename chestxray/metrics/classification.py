"""How good a classifier is on a set of images, and how sure that is: the numbers and tables of a report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.findings import FINDINGS
from chestxray.labels import (
    Booleans,
    Floats,
    Labels,
    Weights,
    check_decisions,
    check_labels,
    check_scores,
    has_both_classes,
    scorable,
)
from chestxray.metrics.bootstrap import check_patients, interval, resample
from chestxray.metrics.ranking import (
    DECIMALS,
    Ranking,
    mean_over_findings,
    rank_findings,
    ranking_scores,
    ratio,
)

AVERAGES = ("micro", "macro", "weighted")


def f1_scores(labels: Labels, decisions: Booleans, weights: Weights) -> tuple[Floats, Floats]:
    """F1 of each finding `(b, 14)` and of all pooled `(b,)`, under each row of `weights (b, n)`."""
    as_float, called = weights.astype(float), decisions & labels.labelled
    hits = as_float @ (labels.present & called)
    called_and_true = as_float @ (labels.present.astype(float) + called)
    return ratio(2 * hits, called_and_true), ratio(2 * hits.sum(axis=1), called_and_true.sum(axis=1))


def confusion_matrices(labels: npt.ArrayLike, decisions: npt.ArrayLike) -> pd.DataFrame:
    """Counts of images, a row a finding: `finding, tn, fp, fn, tp`, which add up to the images that label it.

    Args:
        labels: `(n, 14)` of 1, 0 and -1 (not labelled).
        decisions: `(n, 14)` of 0 and 1.

    Raises:
        ValueError: wrong shapes or values.
    """
    checked = check_labels(labels)
    return _confusion(checked, check_decisions(decisions, "decisions", images=len(checked)))


def _confusion(checked: Labels, called: Booleans) -> pd.DataFrame:
    present, absent = checked.present, checked.absent
    cells = {"tn": absent & ~called, "fp": absent & called, "fn": present & ~called, "tp": present & called}
    return pd.DataFrame({"finding": FINDINGS, **{name: cell.sum(axis=0) for name, cell in cells.items()}})


def _operating_table(checked: Labels, called: Booleans) -> pd.DataFrame:
    """Precision, recall, specificity and F1 by finding, then their averages `micro`, `macro` and `weighted`.

    A finding without both classes is NaN and left out of macro and weighted (by positives); micro pools every label.
    """
    counts = _confusion(checked, called).set_index("finding")
    counts.loc["micro"] = counts.sum()
    tn, fp, fn, tp = counts.to_numpy(dtype=float).T
    columns = {"precision": (tp, fp), "recall": (tp, fn), "specificity": (tn, fp), "f1": (2 * tp, fp + fn)}
    table = pd.DataFrame({name: ratio(a, a + b) for name, (a, b) in columns.items()}, index=counts.index)
    scored = has_both_classes(checked)
    table.loc[[name for name, both in zip(FINDINGS, scored, strict=True) if not both]] = np.nan
    by_finding, positives = table.loc[list(FINDINGS)].to_numpy()[scored], (tp + fn)[:-1][scored]
    table.loc["macro"] = by_finding.mean(axis=0)
    table.loc["weighted"] = positives @ by_finding / positives.sum()
    return table


def _scores(rankings: list[Ranking], labels: Labels, decisions: Booleans, weights: Weights) -> dict[str, Floats]:
    """All that has an interval, under each row of `weights (b, n)`: `(b, 14)` by finding, `(b,)` for the means."""
    area, precision = ranking_scores(rankings, weights)
    f1, micro_f1 = f1_scores(labels, decisions, weights)
    return {
        "auroc": area,
        "average_precision": precision,
        "mean_auroc": mean_over_findings(area),
        "mean_average_precision": mean_over_findings(precision),
        "macro_f1": mean_over_findings(np.where(np.isfinite(area), f1, np.nan)),
        "micro_f1": micro_f1,
    }


def _finite(value: Any) -> Any:
    """Numbers of 6 decimals, through nested dictionaries; what is not finite is left out (JSON has no NaN)."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items() if isinstance(inner, dict) or np.isfinite(inner)}
    return value if isinstance(value, int) else round(float(value), DECIMALS)


def evaluate(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    decisions: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The metrics of one set of images: finite JSON numbers of 6 decimals, the same keys every time.

    A finding is scored on the images that label it. One without both classes there has no AUROC, average precision or
    F1: it is absent from those, left out of the macro and weighted means (micro pools every label), and not among
    `findings_scored`. A resample in which a finding loses a class leaves that finding out of its own means. Subset
    accuracy is the share of images whose labels are all decided right, Hamming loss the share of labels decided wrong.

    Args:
        labels: `(n, 14)` of 1, 0 and -1 (not labelled).
        probabilities: `(n, 14)` in 0..1.
        decisions: `(n, 14)` of 0 and 1.
        patients: `(n,)` ids; whole patients are resampled.
        resamples: for the 95 % percentile intervals.
        seed: of the resampling.

    Returns:
        Counts (`n`, `patients`, `findings_scored`), `<micro|macro|weighted>_<precision|recall|f1>`, `subset_accuracy`,
        `hamming_loss`; with `_ci_low` and `_ci_high` beside them `mean_auroc`, `mean_average_precision`, `macro_f1` and
        `micro_f1`; and dictionaries by finding: `auroc`, `auroc_ci_low`, `auroc_ci_high`, `average_precision`, `f1`,
        and of all 14 `positives` and `labelled`, the n of the finding.

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.
    """
    checked = check_labels(labels)
    called = check_decisions(decisions, "decisions", images=len(checked))
    people = check_patients(patients, len(checked))
    rankings = rank_findings(checked, check_scores(probabilities, "probabilities", images=len(checked), low=0, high=1))
    counts = {"n": len(checked), "patients": len(np.unique(people)), "findings_scored": int(scorable(checked).sum())}
    point, drawn = resample(lambda weights: _scores(rankings, checked, called, weights), people, resamples, seed)
    return dict(_finite({**counts, **_at_operating_points(checked, called), **_with_intervals(point, drawn)}))


def _at_operating_points(checked: Labels, called: Booleans) -> dict[str, Any]:
    """What `evaluate` says of the decisions alone, and the counts by finding."""
    table, wrong = _operating_table(checked, called), checked.labelled & (checked.present != called)
    by_finding = {
        "f1": table["f1"].loc[list(FINDINGS)],
        "positives": checked.present.sum(axis=0).tolist(),
        "labelled": checked.labelled.sum(axis=0).tolist(),
    }
    return {
        **{f"{row}_{name}": table.loc[row, name] for name in ("precision", "recall", "f1") for row in AVERAGES},
        "subset_accuracy": np.mean(~wrong.any(axis=1)),
        "hamming_loss": wrong.sum() / checked.labelled.sum(),
        **{name: dict(zip(FINDINGS, values, strict=True)) for name, values in by_finding.items()},
    }


def _with_intervals(point: Mapping[str, Any], drawn: Mapping[str, Floats]) -> dict[str, Any]:
    """What `evaluate` says with an interval, from the values of the sample and of the resamples."""
    result: dict[str, Any] = {}
    for name in ("mean_auroc", "mean_average_precision", "macro_f1", "micro_f1"):
        low, high = interval(drawn[name])
        result |= {name: point[name], f"{name}_ci_low": low, f"{name}_ci_high": high}
    low_of, high_of = zip(*map(interval, drawn["auroc"].T), strict=True)
    by_finding = {
        "auroc": point["auroc"],
        "auroc_ci_low": low_of,
        "auroc_ci_high": high_of,
        "average_precision": point["average_precision"],
    }
    return result | {name: dict(zip(FINDINGS, values, strict=True)) for name, values in by_finding.items()}


def classification_report(
    labels: npt.ArrayLike, decisions: npt.ArrayLike, thresholds: npt.ArrayLike, metrics: Mapping[str, Any]
) -> pd.DataFrame:
    """The table a reader looks at first: a row a finding, then the `micro`, `macro` and `weighted` averages.

    Args:
        labels: `(n, 14)` of 1, 0 and -1 (not labelled).
        decisions: `(n, 14)` of 0 and 1.
        thresholds: `(14,)`, those that made the decisions.
        metrics: what `evaluate` gave for the same images, so that the table and the JSON say the same.

    Returns:
        Columns `finding, precision, recall, specificity, f1, auroc, auroc_ci_low, auroc_ci_high, average_precision,
        threshold, n, positives`; empty (NaN) where a value does not exist. The macro row holds the mean AUROC and mean
        average precision.

    Raises:
        ValueError: wrong shapes or values.
    """
    checked = check_labels(labels)
    table = _operating_table(checked, check_decisions(decisions, "decisions", images=len(checked)))
    for name in ("auroc", "auroc_ci_low", "auroc_ci_high", "average_precision"):
        table[name] = pd.Series(metrics[name], dtype=float)
        table.loc["macro", name] = metrics[f"mean_{name}"]
    cuts = check_scores(np.asarray(thresholds)[None], "thresholds", images=1, low=0, high=1)[0]
    table["threshold"] = pd.Series(cuts, index=FINDINGS)
    table["n"] = [*checked.labelled.sum(axis=0), *[len(checked)] * len(AVERAGES)]
    positives = checked.present.sum(axis=0)
    table["positives"] = [*positives, *[positives.sum()] * len(AVERAGES)]
    return table.round(DECIMALS).rename_axis("finding").reset_index()
