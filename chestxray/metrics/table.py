"""List the metrics: what each is called, which way is better, and how it is computed under weights.

`METRICS` is the one table of those that are computed under weights: the card, the reports, the figures, the
page and the gate go by it. What a reader of bundles must know of them is in `chestxray.inference.measured`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from chestxray.labels import (
    Booleans,
    Floats,
    LabelMasks,
    Weights,
    check_decisions,
    check_scores,
    counted_once,
    patients_by_class,
    places_of,
)
from chestxray.metrics.calibration_error import calibration_errors
from chestxray.metrics.confusion import f1_scores
from chestxray.metrics.interval import (
    Cases,
    Ends,
    Parts,
    auroc_interval,
    auroc_variance,
    average_precision_interval,
    f1_interval,
    f1_variance,
    mean_interval,
    reported_prevalence,
    scale_odds,
    share_interval,
    share_variance,
)
from chestxray.metrics.jackknife import Spread
from chestxray.metrics.ranking import mean_over_findings, rank_findings, ranking_scores, ratio


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
    """Labelled images with predictions, checked and ranked once, so that it is scored quickly under many weightings.

    Args:
        labels: of n images and k findings.
        predictions: for the same images, of these findings at least.
        name: of the model in an error.
        averaged: `(k,)` findings that means are over, of those that have a value; all by default.

    Raises:
        ValueError: wrong shapes or values, or a finding that is not predicted.
    """

    def __init__(
        self, labels: LabelMasks, predictions: Predictions, name: str = "", averaged: Booleans | None = None
    ) -> None:
        prefix = f"{name} " if name else ""
        names, n = predictions.findings, len(labels)
        places = places_of(labels.findings, names)
        scores = check_scores(predictions.probabilities, f"{prefix}probabilities", names, n, low=0, high=1)
        self.labels = labels
        self.averaged = np.ones(len(labels.findings), bool) if averaged is None else averaged
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
        weighted = Weightings(self, weights)
        return {metric.name: metric.compute(weighted) for metric in metrics}


class Weightings:
    """A sample under b rows of weights, with what several metrics share computed once.

    Args:
        sample: of n images.
        weights: `(b, n)`, how much each image counts: 0 of a patient who is left out.
    """

    def __init__(self, sample: Sample, weights: Weights) -> None:
        self.sample = sample
        self.weights = weights

    @cached_property
    def ranking(self) -> Floats:
        """AUROC and average precision, `(2, b, k)`; NaN where a finding lacks a class."""
        return ranking_scores(self.sample.rankings, self.weights)

    @cached_property
    def both_classes(self) -> Booleans:
        """`(b, k)`: where a finding is both present and absent."""
        weights, labels = self.weights.astype(float), self.sample.labels
        return np.asarray((weights @ labels.present > 0) & (weights @ labels.absent > 0))

    @cached_property
    def f1(self) -> tuple[Floats, Floats]:
        """F1 of each finding, `(b, k)`, and of all pooled, `(b,)`; NaN without decisions."""
        each, pooled = f1_scores(self.sample.decided_labels, self.sample.decisions, self.weights)
        return each, np.where(self.sample.decided.any(), pooled, np.nan)

    def rate(self, hits: Booleans, cases: Booleans) -> Floats:
        """Share of `cases (n, k)` that are `hits`, `(b, k)`; NaN of none, or where a finding has no decisions."""
        weights = self.weights.astype(float)
        total = weights @ cases
        return self.where_decided(np.where(total > 0, ratio(weights @ (hits & cases), total), np.nan))

    def where_decided(self, values: Floats) -> Floats:
        """Return `values (b, k)`, NaN where a finding lacks a class or is only ranked."""
        return np.where(self.both_classes & self.sample.decided, values, np.nan)


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric as a value.

    Attributes:
        name: key in the card.
        title: for people.
        compute: weightings → `(b, k)`, NaN where a finding lacks a class or has no decisions, if `by_finding`; else
            `(b,)`.
        by_finding: it has a value for each finding; else one value for all.
        interval: from its spread and the cases that it is over; None if it has no interval.
        cases: sample → the images that it is a mean over, arrays `(n, k)`, or `(n, 1)` if it is not by finding.
        parts: sample → what the interval of one number for all must know of the figures in it.
        with_prevalence: it moves with the share of images that have the finding.
        compared: by the gate.
        reported: the card has it.
        higher_is_better: which way is better.
    """

    name: str
    title: str
    compute: Callable[[Weightings], Floats]
    by_finding: bool = False
    interval: Callable[..., Ends] | None = None
    cases: Callable[[Sample], tuple[Booleans, ...]] = lambda sample: ()
    parts: Callable[[Sample], Parts] | None = None
    with_prevalence: bool = False
    compared: bool = False
    reported: bool = True
    higher_is_better: bool = True

    def ends(self, spread: Spread, sample: Sample, patients: npt.ArrayLike, min_patients: int) -> Ends:
        """Compute the ends of its intervals: NaN of a finding that has fewer than `min_patients` with such cases.

        What moves with the prevalence allows for data sets in which a finding is common enough by chance alone.
        """
        if self.interval is None:
            raise ValueError(f"{self.name} has no interval")
        counted = [Cases.count(images, patients) for images in self.cases(sample)]
        low, high = self.interval(spread, *counted, *([self.parts(sample)] if self.parts else []))
        if self.with_prevalence:
            have, lack = reported_prevalence(patients_by_class(sample.labels, np.asarray(patients)), min_patients)
            low, high = scale_odds(low, have), scale_odds(high, 1 / lack)
        few = np.any([cases.patients < min_patients for cases in counted], axis=0)
        shape = np.shape(spread.value)
        return np.where(few, np.nan, low).reshape(shape), np.where(few, np.nan, high).reshape(shape)


def _auroc(weighted: Weightings) -> Floats:
    return np.asarray(weighted.ranking[0])


def _average_precision(weighted: Weightings) -> Floats:
    return np.asarray(weighted.ranking[1])


def _f1(weighted: Weightings) -> Floats:
    return weighted.where_decided(weighted.f1[0])


def _sensitivity(weighted: Weightings) -> Floats:
    sample = weighted.sample
    return weighted.rate(sample.decisions, sample.labels.present)


def _specificity(weighted: Weightings) -> Floats:
    sample = weighted.sample
    return weighted.rate(~sample.decisions, sample.labels.absent)


def _positive_predictive_value(weighted: Weightings) -> Floats:
    sample = weighted.sample
    return weighted.rate(sample.labels.present, sample.decisions & sample.labels.labelled)


def _negative_predictive_value(weighted: Weightings) -> Floats:
    sample = weighted.sample
    return weighted.rate(sample.labels.absent, ~sample.decisions & sample.labels.labelled)


def _calibration_error(weighted: Weightings) -> Floats:
    return weighted.where_decided(weighted.sample.calibration_errors(weighted.weights))


def _micro_f1(weighted: Weightings) -> Floats:
    return weighted.f1[1]


def _mean(compute: Callable[[Weightings], Floats]) -> Callable[[Weightings], Floats]:
    """Return a function that computes the mean over the findings that are averaged."""
    return lambda weighted: mean_over_findings(np.where(weighted.sample.averaged, compute(weighted), np.nan))


def _mean_of_all(compute: Callable[[Weightings], Floats]) -> Callable[[Weightings], Floats]:
    """Return a function that computes the mean over all findings that have a value."""
    return lambda weighted: mean_over_findings(compute(weighted))


def _present(sample: Sample) -> tuple[Booleans, ...]:
    return (sample.labels.present,)


def _absent(sample: Sample) -> tuple[Booleans, ...]:
    return (sample.labels.absent,)


def _both_classes(sample: Sample) -> tuple[Booleans, ...]:
    return sample.labels.present, sample.labels.absent


def _decided_positive(sample: Sample) -> tuple[Booleans, ...]:
    return (sample.decisions & sample.labels.labelled,)


def _labelled(sample: Sample) -> tuple[Booleans, ...]:
    return (np.asarray(sample.labels.labelled.any(axis=1, keepdims=True)),)


def _present_or_decided(sample: Sample) -> tuple[Booleans, ...]:
    return (sample.labels.present | (sample.decisions & sample.labels.labelled),)


def _pooled_f1(sample: Sample) -> Parts:
    """Return the F1 of all labels as one figure."""
    images = np.maximum(sum(each.sum() for each in _present_or_decided(sample)), 1)
    value = Weightings(sample, counted_once(len(sample.labels))).f1[1]
    return Parts(value, lambda f1: f1_variance(f1, images))


def _mean_metric(name: str, title: str, of: Metric, variance: Callable[..., Floats]) -> Metric:
    """Return the mean of a metric over the findings that are averaged.

    Args:
        name: key in the card.
        title: for people.
        of: by finding.
        variance: of it, from its value and the numbers of its cases, of independent images.
    """

    def parts(sample: Sample) -> Parts:
        values = of.compute(Weightings(sample, counted_once(len(sample.labels))))[0]
        known = sample.averaged & np.isfinite(values)
        counts = [np.maximum(images.sum(axis=0), 1)[known] for images in of.cases(sample)]
        return Parts(values[known], lambda moved: variance(moved, *counts))

    return Metric(name, title, _mean(of.compute), interval=mean_interval, cases=_labelled, parts=parts)


AUROC = Metric("auroc", "AUROC", _auroc, True, auroc_interval, _both_classes, compared=True)
AVERAGE_PRECISION = Metric(
    "average_precision",
    "average precision",
    _average_precision,
    True,
    average_precision_interval,
    _present,
    with_prevalence=True,
    compared=True,
)
F1 = Metric("f1", "F1", _f1, True, f1_interval, _present_or_decided, with_prevalence=True, compared=True)
PPV = Metric(
    "precision",
    "positive predictive value",
    _positive_predictive_value,
    True,
    share_interval,
    _decided_positive,
    with_prevalence=True,
)
# No interval: docs/decisions/intervals.md
NPV = Metric("npv", "negative predictive value", _negative_predictive_value, by_finding=True)

METRICS = (
    _mean_metric("mean_auroc", "mean AUROC", AUROC, auroc_variance),
    _mean_metric("mean_average_precision", "mean average precision", AVERAGE_PRECISION, share_variance),
    _mean_metric("macro_f1", "macro F1", F1, f1_variance),
    Metric("micro_f1", "micro F1", _micro_f1, interval=mean_interval, cases=_labelled, parts=_pooled_f1),
    # No interval: docs/decisions/intervals.md
    Metric("calibration_error", "mean calibration error", _mean(_calibration_error), higher_is_better=False),
    Metric("mean_auroc_of_all", "mean AUROC of all findings", _mean_of_all(_auroc)),
    Metric("mean_average_precision_of_all", "mean average precision of all findings", _mean_of_all(_average_precision)),
    Metric("macro_f1_of_all", "macro F1 of all findings", _mean_of_all(_f1)),
    AUROC,
    AVERAGE_PRECISION,
    F1,
    Metric("recall", "sensitivity", _sensitivity, True, share_interval, _present),
    Metric("specificity", "specificity", _specificity, True, share_interval, _absent),
    PPV,
    NPV,
    # The card uses this name for the mean.
    Metric(
        "calibration_error",
        "calibration error",
        _calibration_error,
        by_finding=True,
        compared=True,
        reported=False,
        higher_is_better=False,
    ),
)
"""In the order in which reports show them."""

REPORTED = tuple(metric for metric in METRICS if metric.reported)
BY_FINDING = tuple(metric for metric in METRICS if metric.by_finding)
COMPARED = tuple(metric for metric in METRICS if metric.compared)
HEADLINES = tuple(metric for metric in METRICS if metric.interval is not None and not metric.by_finding)
"""One number for all findings, with its interval."""
