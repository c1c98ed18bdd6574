"""How good a classifier is on a set of images, and how sure that is: numbers, intervals, tables and curves.

Everything that ranks or counts takes weights, so a bootstrap resample is a row of weights (how often each image was
drawn) and thousands of them are scored by a few array operations, through the same code as the figures themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.calibration import Booleans, Floats, check_labels, check_scores, has_both_classes, scorable
from chestxray.findings import FINDINGS
from chestxray.progress import progress

Weights = npt.NDArray[np.int32]

QUANTILES = (0.025, 0.975)
CHUNK = 1_000_000
"""Weights held at once, in numbers: bounds the memory of a bootstrap, whatever its size."""
CURVE_POINTS = 200
DECIMALS = 6
AVERAGES = ("micro", "macro", "weighted")


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class _Ranking:
    """One finding's images from the highest score down; a tie group with positives in it is a step of its curves.

    Attributes:
        order: `(n,)` rows from the highest score down.
        positives: `(P,)` rows of the positives among them.
        ranked: `(2, steps)` how many images stand before and up to the end of each step.
        found: `(2, steps)` how many positives do.
    """

    order: npt.NDArray[np.intp]
    positives: npt.NDArray[np.intp]
    ranked: npt.NDArray[np.intp]
    found: npt.NDArray[np.intp]


def _rank_finding(positive: Booleans, scores: Floats) -> _Ranking:
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf)) + 1
    ranked = np.stack([np.append(0, ends[:-1]), ends])
    found = np.append(0, np.cumsum(positive[order]))[ranked]
    step = found[1] > found[0]
    return _Ranking(order, order[positive[order]], ranked[:, step], found[:, step])


def _rank(truth: Booleans, scores: Floats) -> list[_Ranking]:
    return [_rank_finding(positive, score) for positive, score in zip(truth.T, scores.T, strict=True)]


def _once(truth: Booleans) -> Weights:
    """The sample as it is: every image drawn once."""
    return np.ones((1, len(truth)), dtype=np.int32)


def _running(weights: Weights, rows: npt.NDArray[np.intp]) -> Weights:
    """Total weight of the first 0, 1, … of `rows`: `(b, rows + 1)`."""
    totals = np.zeros((len(weights), len(rows) + 1), dtype=np.int32)
    np.cumsum(weights[:, rows], axis=1, out=totals[:, 1:])
    return totals


def _score_finding(ranking: _Ranking, weights: Weights) -> tuple[Floats, Floats]:
    """AUROC and average precision `(b,)` of one finding under each row of `weights (b, n)`; NaN if a class is missing.

    AUROC is the Mann-Whitney statistic, ties counted half (Hanley and McNeil, Radiology 143, 1982); average precision
    is the sum of precision times gain in recall over distinct scores. Both equal scikit-learn's with sample weights.
    """
    seen, found = _running(weights, ranking.order), _running(weights, ranking.positives)
    positives, negatives = found[:, -1], seen[:, -1] - found[:, -1]
    (seen_before, seen_after), (found_before, found_after) = (
        np.moveaxis(total[:, at].astype(float), 1, 0) for total, at in ((seen, ranking.ranked), (found, ranking.found))
    )
    gained = found_after - found_before
    alarms = (seen_before - found_before + seen_after - found_after) / 2  # negatives above, those tied counted half
    precision = found_after / np.maximum(seen_after, 1)
    pairs = positives.astype(float) * negatives
    both = pairs > 0
    area = 1 - _ratio((gained * alarms).sum(axis=1), pairs)
    return np.where(both, area, np.nan), np.where(both, _ratio((gained * precision).sum(axis=1), positives), np.nan)


def _ranking_scores(rankings: list[_Ranking], weights: Weights) -> Floats:
    """AUROC and average precision of all findings under each row of `weights (b, n)`: `(2, b, 14)`."""
    return np.stack([_score_finding(ranking, weights) for ranking in rankings], axis=-1)


def _ratio(part: Any, whole: Any) -> Any:
    """Division in which nothing of nothing is 0, as scikit-learn's `zero_division=0`."""
    return part / np.where(whole == 0, 1, whole)


def _f1_scores(truth: Booleans, decisions: Booleans, weights: Weights) -> tuple[Floats, Floats]:
    """F1 of each finding `(b, 14)` and of all pooled `(b,)`, under each row of `weights (b, n)`."""
    as_float = weights.astype(float)
    hits = as_float @ (truth & decisions)
    called_and_true = as_float @ (truth.astype(float) + decisions)
    return _ratio(2 * hits, called_and_true), _ratio(2 * hits.sum(axis=1), called_and_true.sum(axis=1))


def _mean(values: Floats) -> Floats:
    """Mean over findings `(..., 14) -> (...)`, those that are NaN left out; NaN where all are."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0).sum(axis=-1)
    return np.where(count > 0, _ratio(total, count), np.nan)


def _interval(samples: Floats) -> tuple[float, float]:
    """95 % percentile interval of `(resamples,)`, NaN left out (Efron and Tibshirani 1993, chapter 13)."""
    known = samples[np.isfinite(samples)]
    low, high = np.quantile(known, QUANTILES) if known.size else (np.nan, np.nan)
    return float(low), float(high)


def check_patients(patients: npt.ArrayLike, images: int) -> npt.NDArray[Any]:
    """Checks patient ids: `(n,)`, of at least two patients, since one patient can't be resampled.

    Raises:
        ValueError: another shape, or a single patient.
    """
    array = np.asarray(patients)
    if array.shape != (images,):
        raise ValueError(f"patients must be ({images},), one id an image; got {array.shape}")
    if len(np.unique(array)) < 2:
        raise ValueError(f"an interval needs at least 2 patients, got only {array[0]!r}; give more patients")
    return array


def bootstrap_weights(patients: npt.ArrayLike, resamples: int, seed: int) -> Iterator[Weights]:
    """Draws patients with replacement, as many as there are: images of one patient stay together.

    Args:
        patients: `(n,)` ids. The draws hang on the set of ids, not on the order of images.
        resamples: how many, at least 1.
        seed: of the draws.

    Yields:
        `(b, n)` int32, a row a resample: how often each image was drawn. All b add up to `resamples`.

    Raises:
        ValueError: no resamples.
    """
    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least 1 resample (2000 are usual), got {resamples}")
    ids, patient = np.unique(np.asarray(patients), return_inverse=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK // len(patient))
    starts = range(0, resamples, chunk)
    for start in progress(starts, "bootstrap", len(starts), unit="chunk"):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(len(ids), size=(rows, len(ids))) + len(ids) * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * len(ids)).reshape(rows, len(ids))
        yield times.astype(np.int32)[:, patient]


def auroc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
    """Area under the ROC curve of each finding.

    Args:
        truth: `(n, 14)` of 0 and 1.
        scores: `(n, 14)`, finite; higher means more likely.

    Returns:
        `(14,)` in 0..1, equal to scikit-learn's `roc_auc_score`; NaN for a finding without both classes.

    Raises:
        ValueError: wrong shapes or values.
    """
    return _point_scores(truth, scores)[0]


def mean_auroc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Mean over the findings that have both classes.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    scorable(check_labels(truth))
    return float(np.nanmean(auroc(truth, scores)))


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
    """Average precision of each finding: as `auroc`, equal to scikit-learn's `average_precision_score`."""
    return _point_scores(truth, scores)[1]


def _point_scores(truth: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    labels = check_labels(truth)
    rankings = _rank(labels, check_scores(scores, "scores", images=len(labels)))
    area, precision = _ranking_scores(rankings, _once(labels))
    return area[0], precision[0]


def paired_bootstrap(
    truth: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """Is a better than b on the same images? Mean AUROC of a minus that of b, both on the same resampled patients.

    Args:
        truth: `(n, 14)` of 0 and 1.
        scores_a: `(n, 14)`, finite.
        scores_b: `(n, 14)`, finite.
        patients: `(n,)` ids.
        resamples: of patients.
        seed: of the resampling.

    Returns:
        The difference and its 95 % percentile interval; means are over findings with both classes.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    labels = check_labels(truth)
    people = check_patients(patients, len(labels))
    scorable(labels)
    rankings_a = _rank(labels, check_scores(scores_a, "scores_a", images=len(labels)))
    rankings_b = _rank(labels, check_scores(scores_b, "scores_b", images=len(labels)))

    def difference(weights: Weights) -> Floats:
        return _mean(_ranking_scores(rankings_a, weights)[0]) - _mean(_ranking_scores(rankings_b, weights)[0])

    samples = np.concatenate([difference(weights) for weights in bootstrap_weights(people, resamples, seed)])
    return Estimate(float(difference(_once(labels))[0]), *_interval(samples))


def confusion_matrices(truth: npt.ArrayLike, decisions: npt.ArrayLike) -> pd.DataFrame:
    """Counts of images, a row a finding: `finding, tn, fp, fn, tp`.

    Args:
        truth: `(n, 14)` of 0 and 1.
        decisions: `(n, 14)` of 0 and 1.

    Raises:
        ValueError: wrong shapes or values.
    """
    labels = check_labels(truth)
    called = check_labels(decisions, "decisions", images=len(labels))
    cells = {"tn": ~labels & ~called, "fp": ~labels & called, "fn": labels & ~called, "tp": labels & called}
    return pd.DataFrame({"finding": FINDINGS, **{name: cell.sum(axis=0) for name, cell in cells.items()}})


def _operating_table(truth: npt.ArrayLike, decisions: npt.ArrayLike) -> pd.DataFrame:
    """Precision, recall, specificity and F1 by finding, then their averages `micro`, `macro` and `weighted`.

    A finding without both classes is NaN and left out of macro and weighted (by positives); micro pools all 14.
    """
    counts = confusion_matrices(truth, decisions).set_index("finding")
    counts.loc["micro"] = counts.sum()
    tn, fp, fn, tp = counts.to_numpy(dtype=float).T
    columns = {"precision": (tp, fp), "recall": (tp, fn), "specificity": (tn, fp), "f1": (2 * tp, fp + fn)}
    table = pd.DataFrame({name: _ratio(a, a + b) for name, (a, b) in columns.items()}, index=counts.index)
    scored = has_both_classes(check_labels(truth))
    table.loc[[name for name, both in zip(FINDINGS, scored, strict=True) if not both]] = np.nan
    by_finding, positives = table.loc[list(FINDINGS)].to_numpy()[scored], (tp + fn)[:-1][scored]
    table.loc["macro"] = by_finding.mean(axis=0)
    table.loc["weighted"] = positives @ by_finding / positives.sum()
    return table


def _scores(rankings: list[_Ranking], truth: Booleans, decisions: Booleans, weights: Weights) -> dict[str, Floats]:
    """All that has an interval, under each row of `weights (b, n)`: `(b, 14)` by finding, `(b,)` for the means."""
    area, precision = _ranking_scores(rankings, weights)
    f1, micro_f1 = _f1_scores(truth, decisions, weights)
    return {
        "auroc": area,
        "average_precision": precision,
        "mean_auroc": _mean(area),
        "mean_average_precision": _mean(precision),
        "macro_f1": _mean(np.where(np.isfinite(area), f1, np.nan)),
        "micro_f1": micro_f1,
    }


def _finite(value: Any) -> Any:
    """Numbers of 6 decimals, through nested dictionaries; what is not finite is left out (JSON has no NaN)."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items() if isinstance(inner, dict) or np.isfinite(inner)}
    return value if isinstance(value, int) else round(float(value), DECIMALS)


def evaluate(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    decisions: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The metrics of one set of images: finite JSON numbers of 6 decimals, the same keys every time.

    A finding without both classes in `truth` has no AUROC, average precision or F1: it is absent from those, left out
    of the macro and weighted means (micro pools all 14), and not among `findings_scored`. A resample in which a finding
    loses a class leaves that finding out of its own means.

    Args:
        truth: `(n, 14)` of 0 and 1.
        probabilities: `(n, 14)` in 0..1.
        decisions: `(n, 14)` of 0 and 1.
        patients: `(n,)` ids; whole patients are resampled.
        resamples: for the 95 % percentile intervals.
        seed: of the resampling.

    Returns:
        Counts (`n`, `patients`, `findings_scored`), `<micro|macro|weighted>_<precision|recall|f1>`, `subset_accuracy`,
        `hamming_loss`; with `_ci_low` and `_ci_high` beside them `mean_auroc`, `mean_average_precision`, `macro_f1` and
        `micro_f1`; and dictionaries by finding: `auroc`, `auroc_ci_low`, `auroc_ci_high`, `average_precision`, `f1`,
        `positives` (this one of all 14).

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.
    """
    labels = check_labels(truth)
    called = check_labels(decisions, "decisions", images=len(labels))
    people = check_patients(patients, len(labels))
    rankings = _rank(labels, check_scores(probabilities, "probabilities", images=len(labels), low=0, high=1))
    scored = int(scorable(labels).sum())
    point = {name: values[0] for name, values in _scores(rankings, labels, called, _once(labels)).items()}
    chunks = [_scores(rankings, labels, called, weights) for weights in bootstrap_weights(people, resamples, seed)]
    drawn = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in point}
    table = _operating_table(labels, called)
    result: dict[str, Any] = {
        "n": len(labels),
        "patients": len(np.unique(people)),
        "findings_scored": scored,
        **{f"{row}_{name}": table.loc[row, name] for name in ("precision", "recall", "f1") for row in AVERAGES},
        "subset_accuracy": np.mean((labels == called).all(axis=1)),
        "hamming_loss": np.mean(labels != called),
    }
    for name in ("mean_auroc", "mean_average_precision", "macro_f1", "micro_f1"):
        low, high = _interval(drawn[name])
        result |= {name: point[name], f"{name}_ci_low": low, f"{name}_ci_high": high}
    low_of, high_of = zip(*map(_interval, drawn["auroc"].T), strict=True)
    by_finding = {
        "auroc": point["auroc"],
        "auroc_ci_low": low_of,
        "auroc_ci_high": high_of,
        "average_precision": point["average_precision"],
        "f1": table["f1"].loc[list(FINDINGS)],
        "positives": labels.sum(axis=0).tolist(),
    }
    result |= {name: dict(zip(FINDINGS, values, strict=True)) for name, values in by_finding.items()}
    return dict(_finite(result))


def classification_report(
    truth: npt.ArrayLike, decisions: npt.ArrayLike, thresholds: npt.ArrayLike, metrics: Mapping[str, Any]
) -> pd.DataFrame:
    """The table a reader looks at first: a row a finding, then the `micro`, `macro` and `weighted` averages.

    Args:
        truth: `(n, 14)` of 0 and 1.
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
    labels = check_labels(truth)
    table = _operating_table(labels, decisions)
    for name in ("auroc", "auroc_ci_low", "auroc_ci_high", "average_precision"):
        table[name] = pd.Series(metrics[name], dtype=float)
        table.loc["macro", name] = metrics[f"mean_{name}"]
    cuts = check_scores(np.asarray(thresholds)[None], "thresholds", images=1, low=0, high=1)[0]
    table["threshold"] = pd.Series(cuts, index=FINDINGS)
    table["n"] = len(labels)
    positives = labels.sum(axis=0)
    table["positives"] = [*positives, *[positives.sum()] * len(AVERAGES)]
    return table.round(DECIMALS).rename_axis("finding").reset_index()


def _curve(finding: str, **columns: Floats) -> pd.DataFrame:
    """At most `CURVE_POINTS` evenly spaced points of a curve, its ends among them."""
    points = pd.DataFrame({"finding": finding, **columns}).round(DECIMALS).drop_duplicates(ignore_index=True)
    kept = np.linspace(0, len(points) - 1, min(CURVE_POINTS, len(points))).round().astype(int)
    return points.iloc[kept]


def curves(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ROC and precision-recall curves, as points to plot, at most 200 a finding.

    ROC points are the corners of the curve. Precision-recall points are those where recall grows, with the first
    carried back to recall 0; drawn as steps, precision holding to the left, they enclose the average precision.

    Args:
        truth: `(n, 14)` of 0 and 1.
        probabilities: `(n, 14)`, finite.

    Returns:
        Frames `finding, fpr, tpr` and `finding, recall, precision`, in the order of `FINDINGS`; a finding without both
        classes has no rows.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    labels = check_labels(truth)
    rankings = _rank(labels, check_scores(probabilities, "probabilities", images=len(labels)))
    roc, precision_recall = [], []
    for finding in np.flatnonzero(scorable(labels)):
        ranking, name = rankings[finding], FINDINGS[finding]
        positives = len(ranking.positives)
        alarms = (ranking.ranked - ranking.found).T.ravel() / (len(labels) - positives)
        found = ranking.found.T.ravel() / positives
        roc.append(_curve(name, fpr=np.array([0, *alarms, 1]), tpr=np.array([0, *found, 1])))
        recall, precision = ranking.found[1] / positives, ranking.found[1] / ranking.ranked[1]
        precision_recall.append(
            _curve(name, recall=np.array([0, *recall]), precision=np.array([precision[0], *precision]))
        )
    return pd.concat(roc, ignore_index=True), pd.concat(precision_recall, ignore_index=True)
