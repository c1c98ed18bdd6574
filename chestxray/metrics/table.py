"""List the metrics: what each is called, which way is better, and how it is computed under weights.

`METRICS` is the one table of those that are computed under weights: `metrics.json`, the reports, the figures, the
page and the gate go by it. A metric more is one entry there and one function here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, Floats, LabelMasks, Weights, check_decisions, check_scores, places_of
from chestxray.metrics.calibration_error import calibration_errors
from chestxray.metrics.confusion import f1_scores
from chestxray.metrics.ranking import mean_over_findings, rank_findings, ranking_scores


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for n images.

    Attributes:
        findings: of the model, k names.
        probabilities: `(n, k)` in 0..1.
        decisions: `(n, k)` of 0 and 1.
        ranked_only: findings whose numbers are scores: they rank images, but are no probabilities and no decisions.
    """

    findings: tuple[str, ...]
    probabilities: npt.ArrayLike
    decisions: npt.ArrayLike
    ranked_only: tuple[str, ...] = ()

    def at(self, images: npt.NDArray[np.bool_]) -> Self:
        """Return the predictions for some of the images, `(n,)` bool."""
        probabilities, decisions = (np.asarray(values)[images] for values in (self.probabilities, self.decisions))
        return type(self)(self.findings, probabilities, decisions, self.ranked_only)

    def of(self, findings: Sequence[str]) -> Self:
        """Return the predictions of some of the findings, in the order given.

        Raises:
            ValueError: the model does not predict one.
        """
        places = places_of(findings, self.findings)
        probabilities, decisions = (np.asarray(values)[:, places] for values in (self.probabilities, self.decisions))
        ranked_only = tuple(name for name in self.ranked_only if name in findings)
        return type(self)(tuple(findings), probabilities, decisions, ranked_only)


class Sample:
    """Labelled images with predictions, checked and ranked once, so that thousands of resamples are scored quickly.

    Args:
        labels: of n images and k findings.
        predictions: for the same images, of these findings at least.
        name: of the model in an error.

    Raises:
        ValueError: wrong shapes or values, or a finding that is not predicted.
    """

    def __init__(self, labels: LabelMasks, predictions: Predictions, name: str = "") -> None:
        prefix = f"{name} " if name else ""
        names, n = predictions.findings, len(labels)
        places = places_of(labels.findings, names)
        scores = check_scores(predictions.probabilities, f"{prefix}probabilities", names, n, low=0, high=1)
        self.labels = labels
        self.probabilities: Floats = scores[:, places]
        self.decisions: Booleans = check_decisions(predictions.decisions, f"{prefix}decisions", names, n)[:, places]
        self.rankings = rank_findings(labels, self.probabilities)
        self.decided: Booleans = np.array([name not in predictions.ranked_only for name in labels.findings], bool)
        """`(k,)`: the findings whose numbers are probabilities, and that have decisions."""
        self.decided_labels = labels.hide(predictions.ranked_only)

    @cached_property
    def calibration_errors(self) -> Callable[[Weights], Floats]:
        """The calibration error of each finding as a function of weights."""
        return calibration_errors(self.labels, self.probabilities)

    def scores(self, metrics: tuple["Metric", ...], weights: Weights) -> dict[str, Floats]:
        """Compute metrics under each row of `weights (b, n)`: name → `(b, k)`, or `(b,)`."""
        resampled = Resamples(self, weights)
        return {metric.name: metric.compute(resampled) for metric in metrics}


class Resamples:
    """A sample under b rows of weights, with what several metrics share computed once.

    Args:
        sample: of n images.
        weights: `(b, n)`, how often each image was drawn.
    """

    def __init__(self, sample: Sample, weights: Weights) -> None:
        self.sample = sample
        self.weights = weights

    @cached_property
    def ranking(self) -> Floats:
        """AUROC and average precision, `(2, b, k)`; NaN where a finding lacks a class."""
        return ranking_scores(self.sample.rankings, self.weights)

    @cached_property
    def f1(self) -> tuple[Floats, Floats]:
        """F1 of each finding, `(b, k)`, and of all pooled, `(b,)`; NaN without decisions."""
        each, pooled = f1_scores(self.sample.decided_labels, self.sample.decisions, self.weights)
        return each, np.where(self.sample.decided.any(), pooled, np.nan)

    def where_decided(self, values: Floats) -> Floats:
        """Return `values (b, k)`, NaN where a finding lacks a class or is only ranked."""
        return np.where(np.isfinite(self.ranking[0]) & self.sample.decided, values, np.nan)


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric as a value.

    Attributes:
        name: key in `metrics.json`.
        title: for people.
        compute: resamples → `(b, k)`, NaN where a finding lacks a class or has no decisions, if `by_finding`; else
            `(b,)`.
        by_finding: it has a value for each finding, and is compared by the gate; else one value for all.
        interval: it is reported with a 95 % interval.
        reported: `metrics.json` has it.
        higher_is_better: which way is better.
    """

    name: str
    title: str
    compute: Callable[[Resamples], Floats]
    by_finding: bool = False
    interval: bool = False
    reported: bool = True
    higher_is_better: bool = True


def _auroc(resamples: Resamples) -> Floats:
    return np.asarray(resamples.ranking[0])


def _average_precision(resamples: Resamples) -> Floats:
    return np.asarray(resamples.ranking[1])


def _f1(resamples: Resamples) -> Floats:
    return resamples.where_decided(resamples.f1[0])


def _calibration_error(resamples: Resamples) -> Floats:
    return resamples.where_decided(resamples.sample.calibration_errors(resamples.weights))


def _micro_f1(resamples: Resamples) -> Floats:
    return resamples.f1[1]


def _mean(compute: Callable[[Resamples], Floats]) -> Callable[[Resamples], Floats]:
    """Return a function that computes the mean over findings."""
    return lambda resamples: mean_over_findings(compute(resamples))


METRICS = (
    Metric("mean_auroc", "mean AUROC", _mean(_auroc), interval=True),
    Metric("mean_average_precision", "mean average precision", _mean(_average_precision), interval=True),
    Metric("macro_f1", "macro F1", _mean(_f1), interval=True),
    Metric("micro_f1", "micro F1", _micro_f1, interval=True),
    Metric("calibration_error", "mean calibration error", _mean(_calibration_error), higher_is_better=False),
    Metric("auroc", "AUROC", _auroc, by_finding=True, interval=True),
    Metric("average_precision", "average precision", _average_precision, by_finding=True),
    Metric("f1", "F1", _f1, by_finding=True),
    # metrics.json uses this name for the mean.
    Metric(
        "calibration_error",
        "calibration error",
        _calibration_error,
        by_finding=True,
        reported=False,
        higher_is_better=False,
    ),
)
"""In the order in which reports show them."""

REPORTED = tuple(metric for metric in METRICS if metric.reported)
BY_FINDING = tuple(metric for metric in METRICS if metric.by_finding)
HEADLINES = tuple(metric for metric in METRICS if metric.interval and not metric.by_finding)
"""One number for all findings, with its interval."""


def headline(metrics: Mapping[str, Any], name: str) -> str:
    """Say a headline metric as figures and tables do, such as "mean AUROC 0.903 (95 % interval 0.878 to 0.925)".

    Args:
        metrics: as `report.evaluate` gives them.
        name: of one of `HEADLINES`.
    """
    (metric,) = (each for each in HEADLINES if each.name == name)
    value = metrics[name]
    low = metrics[f"{name}_ci_low"]
    high = metrics[f"{name}_ci_high"]
    return f"{metric.title} {value:.3f} (95 % interval {low:.3f} to {high:.3f})"
