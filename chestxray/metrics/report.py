"""Report how good a classifier is on a set of images, and how sure that is."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.labels import (
    Booleans,
    Floats,
    LabelMasks,
    check_decisions,
    check_scorable,
    check_scores,
    counted_once,
    patients_by_class,
)
from chestxray.metrics.confusion import AVERAGES, operating_table
from chestxray.metrics.jackknife import check_patients, jackknife
from chestxray.metrics.ranking import DECIMALS
from chestxray.metrics.table import BY_FINDING, REPORTED, Metric, Predictions, Sample

ENDS = ("low", "high")


def evaluate(
    labels: LabelMasks,
    probabilities: npt.ArrayLike,
    decisions: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    min_positives: int,
    ranked_only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Compute the metrics of one set of images: finite JSON numbers of 6 decimals; what does not exist has no key.

    A finding is scored on the images that label it. One without both classes there has no AUROC, average precision or
    F1: it is absent from those, left out of the macro and weighted means (micro pools every label), and not among
    `findings_scored`. One that is only ranked has AUROC and average precision; what is said of decisions and
    probabilities leaves it out, and is absent itself if it leaves out all. One with fewer than `min_positives` patients
    of a class has no interval and is in no `mean_*`, `macro_*` and mean calibration error; `findings_averaged` says how
    many are, and `*_of_all` are the means over all that are scored. So where no finding is averaged `mean_auroc`,
    `mean_average_precision`, `macro_*` and `calibration_error` are absent, and where all are only ranked so is what is
    said of decisions. Subset accuracy is the share of images whose labels are all decided right, Hamming loss the share
    of labels decided wrong. Which figures have no interval, and why: docs/decisions/intervals.md.

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)` in 0..1.
        decisions: `(n, k)` of 0 and 1.
        patients: `(n,)` ids.
        min_positives: patients of each class, at least 2, that a finding needs for an interval and a part in means.
        ranked_only: findings whose numbers are scores, without decisions.

    Returns:
        Counts (`n`, `patients`, `findings_scored`, `findings_averaged`),
        `<micro|macro|weighted>_<precision|recall|f1>`, `subset_accuracy`, `hamming_loss`, `calibration_error`,
        `mean_auroc_of_all`, `mean_average_precision_of_all`, `macro_f1_of_all`; with 95 % intervals in `_ci_low` and
        `_ci_high` beside them `mean_auroc`, `mean_average_precision`, `macro_f1` and `micro_f1`; and dictionaries by
        finding: with intervals `auroc`, `average_precision`, `f1`, `recall`, `specificity` and `precision`; without
        an interval `npv`; and of all k `positives` and `labelled`, the n of the finding.

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.

    Example:
        >>> from chestxray.labels import label_masks
        >>> labels = label_masks([[0], [0], [1], [1]], ["Tuberculosis"])
        >>> probabilities = np.array([[0.1], [0.4], [0.35], [0.8]])
        >>> patients = ["a", "b", "c", "d"]
        >>> metrics = evaluate(labels, probabilities, probabilities > 0.3, patients, min_positives=2)
        >>> metrics["n"], metrics["mean_auroc"], metrics["macro_f1"]
        (4, 0.75, 0.8)
    """
    people = check_patients(patients, len(labels))
    scored = int(check_scorable(labels).sum())
    averaged = averaged_findings(labels, people, min_positives)
    sample = Sample(labels, Predictions(labels.findings, probabilities, decisions, ranked_only), averaged=averaged)
    counts = {
        "n": len(labels),
        "patients": len(np.unique(people)),
        "findings_scored": scored,
        "findings_averaged": int(averaged.sum()),
    }
    by_finding = {metric.name for metric in REPORTED if metric.by_finding}
    values = {
        name: dict(zip(labels.findings, each, strict=True)) if _stem(name) in by_finding else float(each)
        for name, each in estimates(sample, REPORTED, people, min_positives).items()
    }
    return dict(_finite({**counts, **_at_operating_points(sample), **values}))


def averaged_findings(labels: LabelMasks, patients: npt.NDArray[Any], min_positives: int) -> Booleans:
    """Return which findings have an interval, and a part in means: `(k,)`, by their patients of either class."""
    return np.asarray(patients_by_class(labels, patients).min(axis=0) >= min_positives)


def estimates(
    sample: Sample, metrics: Sequence[Metric], patients: npt.NDArray[Any], min_positives: int
) -> dict[str, Floats]:
    """Compute metrics, and `<metric>_ci_low` and `_ci_high` of those with an interval: arrays `(k,)`, or one number.

    NaN is what does not exist: a figure without both classes or decisions; an interval of fewer than `min_positives`
    patients of a class, and any interval where no finding has so many.
    """
    with_interval = tuple(metric for metric in metrics if metric.interval is not None)
    point = sample.scores(tuple(metrics), counted_once(len(sample.labels)))
    spreads = jackknife(lambda weights: sample.scores(with_interval, weights), patients) if with_interval else {}
    values = {}
    for metric in metrics:
        values[metric.name] = point[metric.name][0]
        if metric.interval is not None:
            known = sample.averaged if metric.by_finding else sample.averaged.any()
            ends = metric.ends(spreads[metric.name], sample, patients, min_positives)
            values |= {
                f"{metric.name}_ci_{end}": np.where(known, at, np.nan) for end, at in zip(ENDS, ends, strict=True)
            }
    return values


def _stem(name: str) -> str:
    """Return the metric that a value, or the end of an interval, is of."""
    return name.removesuffix("_ci_low").removesuffix("_ci_high")


def _at_operating_points(sample: Sample) -> dict[str, Any]:
    """Compute what `evaluate` says of the decisions alone, and count by finding."""
    labels, decided = sample.labels, sample.decided_labels
    rates: dict[str, Any] = {}
    if decided.labelled.any():
        table = operating_table(decided, sample.decisions, sample.averaged)
        wrong = decided.labelled & (decided.present != sample.decisions)
        rates = {f"{row}_{name}": table.loc[row, name] for name in ("precision", "recall", "f1") for row in AVERAGES}
        right = ~wrong.any(axis=1)[decided.labelled.any(axis=1)]
        rates |= {"subset_accuracy": right.mean(), "hamming_loss": wrong.sum() / decided.labelled.sum()}
    return {
        **rates,
        "positives": dict(zip(labels.findings, labels.present.sum(axis=0).tolist(), strict=True)),
        "labelled": dict(zip(labels.findings, labels.labelled.sum(axis=0).tolist(), strict=True)),
    }


def _finite(value: Any) -> Any:
    """Round to 6 decimals, through nested dictionaries; leave out what is not finite, for JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items() if isinstance(inner, dict) or np.isfinite(inner)}
    return value if isinstance(value, int) else round(float(value), DECIMALS)


def classification_report(
    labels: LabelMasks, decisions: npt.ArrayLike, thresholds: npt.ArrayLike, metrics: Mapping[str, Any]
) -> pd.DataFrame:
    """Tabulate what a reader looks at first: a row a finding, then the `micro`, `macro` and `weighted` averages.

    Args:
        labels: of n images and k findings.
        decisions: `(n, k)` of 0 and 1.
        thresholds: `(k,)`, those that made the decisions; NaN of a finding without decisions.
        metrics: what `evaluate` gave for the same images, so that the table and the JSON say the same.

    Returns:
        Columns `finding, precision, recall, specificity, f1`, then `auroc`, `average_precision`, `npv`, and
        `<metric>_ci_low, <metric>_ci_high` of all these but `npv`, then `threshold, n, positives`; empty (NaN) where a
        value does not exist. The macro row holds the mean AUROC and mean average precision, with their intervals and
        that of macro F1; `positives` of an average are those of the findings that it is over.

    Raises:
        ValueError: wrong shapes or values.
    """
    cuts = pd.Series(np.asarray(thresholds, float), index=labels.findings)
    undecided = list(itertools.compress(labels.findings, cuts.isna()))
    check_scores(cuts.fillna(0).to_numpy()[None], "thresholds", labels.findings, images=1, low=0, high=1)
    decided = check_decisions(decisions, "decisions", labels.findings, len(labels))
    averaged = np.array([name in metrics["auroc_ci_low"] for name in labels.findings], bool)
    table = operating_table(labels.hide(undecided), decided, averaged)
    for metric in (metric for metric in BY_FINDING if metric.reported):
        for name in (metric.name, *(f"{metric.name}_ci_{end}" for end in ENDS)):
            if name in metrics and name not in table:
                table[name] = pd.Series(metrics[name], dtype=float)
                table.loc["macro", name] = metrics.get(f"mean_{name}", metrics.get(f"macro_{name}", np.nan))
    table["threshold"] = cuts
    table["n"] = [*labels.labelled.sum(axis=0), *[len(labels)] * len(AVERAGES)]
    positives = labels.present.sum(axis=0)
    with_decisions = cuts.notna().to_numpy()
    of_average = {"macro": positives[with_decisions & averaged].sum()}
    table["positives"] = [*positives, *(of_average.get(name, positives[with_decisions].sum()) for name in AVERAGES)]
    return table.round(DECIMALS).rename_axis("finding").reset_index()
