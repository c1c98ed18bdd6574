"""Turn a figure and its spread over patients into a 95 % interval that covers.

A figure between 0 and 1 is not normally distributed near its ends, least of all where few patients have the finding. So
each interval holds the values from which the figure is no further away than chance explains, by the variance that
*these values* would have (a score interval), as Wilson's does for a share. Patients with several images make that
variance larger, by the design effect. What was tried, and how often each covers: docs/decisions/intervals.md.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import gammainc, gammaincinv, ndtri, stdtrit

from chestxray.labels import Booleans, Floats
from chestxray.metrics.jackknife import Spread
from chestxray.metrics.proportion import LEVEL, wilson_interval

ALIKE = 0.2
"""Least correlation of the images of a patient that is assumed: few patients can't show how alike theirs are."""
LEAST = 0.75
"""Least share of the variance of independent images that a mean has; of binormal scores it is less than all of it."""
NORMAL = float(ndtri((1 + LEVEL) / 2))
SELDOM = 0.05
"""Share of data sets: what would be reported in fewer is not reckoned with."""
HALVINGS = 50
Ends = tuple[Floats, Floats]


def student(freedom: npt.ArrayLike) -> Floats:
    """Return the quantile of Student's distribution that leaves 2.5 % above it; at least 1 degree of freedom."""
    return np.asarray(stdtrit(np.maximum(freedom, 1), (1 + LEVEL) / 2))


@dataclass(frozen=True, eq=False)
class Cases:
    """The images that a figure is a mean over, of each finding.

    Attributes:
        images: `(k,)` how many.
        patients: `(k,)` of how many.
        most: `(k,)` design effect where all images of a patient are alike: the mean over images of how many of them
            are of the same patient.
        largest: `(k,)` images of the patient who has most: the design effect where such patients alone are hits.
    """

    images: Floats
    patients: Floats
    most: Floats
    largest: Floats

    @classmethod
    def count(cls, cases: Booleans, patients: npt.ArrayLike) -> Self:
        """Count `cases (n, k)` of `patients (n,)`."""
        patient = np.unique(np.asarray(patients), return_inverse=True)[1]
        sizes = np.stack([np.bincount(patient, each) for each in np.asarray(cases, float).T], axis=1)
        images = sizes.sum(axis=0)
        most = (sizes**2).sum(axis=0) / np.maximum(images, 1)
        return cls(images, (sizes > 0).sum(axis=0).astype(float), np.maximum(most, 1), np.maximum(sizes.max(axis=0), 1))

    def design_effect(self, error: Floats, independent: Floats) -> Floats:
        """Say how many times larger a variance is than that of `independent (k,)` images.

        It is at least that of images as alike as `ALIKE`; where nothing varies, so that it can't be seen, the most
        that it can be.
        """
        least = 1 + ALIKE * (self.most - 1)
        fixed = (independent <= 0) | (error <= 0)
        seen = error**2 / np.where(fixed, 1, independent)
        return np.where(fixed, self.most, np.maximum(seen, least))


def share_interval(spread: Spread, cases: Cases) -> Ends:
    """Compute the interval of a share of images.

    Wilson's interval with the design effect of patients (Rao and Scott, Biometrics 48, 1992), Student's quantiles, and
    the bias taken off. It is no wider than where all images of a patient are alike and hits are of the patients with
    most images, which is as much as a share can vary: of few misses, the jackknife would say that next to nothing is
    known of its own error.
    """
    limit = student(cases.patients - 1) ** 2 * cases.largest
    return _wilson(spread, cases, np.minimum(_seen(spread, cases), limit))


def average_precision_interval(spread: Spread, cases: Cases) -> Ends:
    """Compute the interval of an average precision, a mean over images with the finding of what lies in 0..1.

    As `share_interval`, but its images hang together by the others too that they are ranked among: however large the
    error is that the jackknife sees, it counts.
    """
    return _wilson(spread, cases, _seen(spread, cases))


def _seen(spread: Spread, cases: Cases) -> Floats:
    """Return the design effect times the square of Student's quantile."""
    centre = np.clip(spread.value - spread.bias, 0, 1)
    effect = cases.design_effect(spread.error, centre * (1 - centre) / np.maximum(cases.images, 1))
    return np.asarray(effect * student(np.minimum(spread.freedom, cases.patients - 1)) ** 2)


def _wilson(spread: Spread, cases: Cases, scale: Floats) -> Ends:
    """Compute Wilson's interval of a share less its bias; `scale` is the design effect times a squared quantile."""
    centre = np.clip(spread.value - spread.bias, 0, 1)
    return _around(spread.value, wilson_interval(centre, np.maximum(cases.images, 1), np.sqrt(scale)))


def bounded_interval(spread: Spread, cases: Cases) -> Ends:
    """Compute the interval of a mean over images of numbers in 0..1: as `share_interval`, by the error alone.

    A mean of 0 or 1 that no patient changes has no interval: NaN.
    """
    centre, error, freedom = _corrected(spread, cases)
    inside = np.where((centre > 0) & (centre < 1), centre, spread.value)  # less its bias, a mean may lie at an end
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = wilson_interval(centre, inside * (1 - inside) / error**2, student(freedom))
    return _around(spread.value, ends)


@dataclass(frozen=True, eq=False)
class Parts:
    """The figures that a mean is over.

    Attributes:
        values: `(p,)` in 0..1.
        variance: of each, at values `(p,)`, if all images were independent.
    """

    values: Floats
    variance: Callable[[Floats], Floats]

    def variance_of_mean(self, moved: Floats) -> Floats:
        """Compute the variance of their mean if images and figures are independent and all values are moved."""
        values = np.clip(self.values + np.asarray(moved)[..., None], 0, 1)
        return np.asarray(self.variance(values).sum(axis=-1) / max(len(self.values), 1) ** 2)


def mean_interval(spread: Spread, cases: Cases, parts: Parts) -> Ends:
    """Compute the interval of a mean over findings, or of labels pooled, from which the mean is as far as chance
    explains.

    That is the error which the jackknife sees, and at least `LEAST` of the variance that independent images would have:
    of a model that is nearly always right, or that says the same of all images, few patients or none show how far
    off it can be. Both change with the mean as the variance of independent images does.

    Args:
        spread: of one number.
        cases: all images, as one column.
        parts: that the mean is over.
    """
    centre, error, freedom = _corrected(spread, cases)
    as_it_is = parts.variance_of_mean(centre - spread.value)
    seen = student(freedom) ** 2 * error**2 / np.where(as_it_is > 0, as_it_is, np.inf)
    scale = np.maximum(seen, NORMAL**2 * LEAST)

    def reach(mean: Floats) -> Floats:
        return np.asarray(np.sqrt(scale * parts.variance_of_mean(mean - spread.value)))

    return _around(spread.value, _score_ends(centre, reach))


def _corrected(spread: Spread, cases: Cases) -> tuple[Floats, Floats, Floats]:
    """Take the bias off a mean; return what is left, its error and the degrees of freedom of that.

    A bias that is taken off is not known for certain: it counts as an error of its own. How well the error is known is
    limited twice, by the tails that it shows and by patients of unequal numbers of images, which count for fewer: both
    add up.
    """
    patients = np.maximum(cases.images / cases.most, 2)
    freedom = 1 / (1 / spread.freedom + 1 / (patients - 1))
    return np.clip(spread.value - spread.bias, 0, 1), np.hypot(spread.error, spread.bias), freedom


def f1_interval(spread: Spread, cases: Cases) -> Ends:
    """Compute the interval of F1, which is 2 J / (1 + J) of a share J: of the images with the finding or the decision,
    those that have both. How many these are is chance too, so the error that the jackknife sees counts as it is.
    """
    share = spread.value / (2 - spread.value)
    slope = 2 / (2 - spread.value) ** 2
    of_share = Spread(share, slope * spread.bias, slope * spread.error, spread.freedom)
    low, high = _wilson(of_share, cases, _seen(of_share, cases))
    return 2 * low / (1 + low), 2 * high / (1 + high)


def reported_prevalence(patients: npt.ArrayLike, least: int) -> Floats:
    """Say how much less common a class may be than in a data set that is reported because it is common there.

    A finding has intervals where at least `least` patients have it. Of a finding that seldom has so many, the data sets
    with intervals are those in which it is too common, and so are its PPV, F1 and average precision. The number of
    patients is Poisson's, truncated at `least` (David and Johnson, Biometrics 8, 1952): its mean is that which explains
    the number that is seen, but not so small that fewer than `SELDOM` of data sets would be reported.

    Args:
        patients: `(…)` of the class.
        least: that are needed.

    Returns:
        `(…)` expected patients over patients seen, 0..1.
    """
    seen = np.asarray(patients, float)
    low, high = np.full_like(seen, gammaincinv(least, SELDOM)), seen
    for _ in range(HALVINGS):
        mean = (low + high) / 2
        expected = mean * gammainc(least - 1, mean) / gammainc(least, mean)
        low, high = np.where(expected < seen, mean, low), np.where(expected < seen, high, mean)
    return np.asarray(np.minimum(low / np.maximum(seen, 1), 1))


def scale_odds(share: Floats, factor: Floats) -> Floats:
    """Multiply the odds of shares, as another prevalence does with those of a PPV (Bayes)."""
    return factor * share / (1 - share + factor * share)


def share_variance(share: Floats, images: Floats) -> Floats:
    """Compute the variance of a share of independent images."""
    return share * (1 - share) / images


def f1_variance(f1: Floats, images: Floats) -> Floats:
    """Compute the variance of F1 of so many independent images with the finding or the decision; see `f1_interval`."""
    return share_variance(f1 / (2 - f1), images) * ((2 - f1) ** 2 / 2) ** 2


def auroc_variance(area: Floats, positives: Floats, negatives: Floats) -> Floats:
    """Compute the variance of an AUROC of independent images (Hanley and McNeil, Radiology 143, 1982)."""
    alike = area / (2 - area) - area**2
    unlike = 2 * area**2 / (1 + area) - area**2
    return (area * (1 - area) + (positives - 1) * alike + (negatives - 1) * unlike) / (positives * negatives)


def auroc_interval(spread: Spread, positives: Cases, negatives: Cases) -> Ends:
    """Compute the interval of an AUROC.

    The areas from which it is as far as chance explains, by Hanley and McNeil's variance at that area (Newcombe,
    Statistics in Medicine 25, 2006, method 5) times the design effect of patients.
    """
    counts = np.maximum(positives.images, 1), np.maximum(negatives.images, 1)
    rarer = _rarer(positives, negatives)
    effect = rarer.design_effect(spread.error, auroc_variance(spread.value, *counts))
    quantile = student(np.minimum(spread.freedom, rarer.patients - 1))

    def reach(area: Floats) -> Floats:
        return np.asarray(quantile * np.sqrt(effect * auroc_variance(area, *counts)))

    return _score_ends(spread.value, reach)


def _score_ends(value: Floats, reach: Callable[[Floats], Floats]) -> Ends:
    """Find the values in 0..1 that are as far from `value` as chance explains, which is `reach` of them.

    The way between the value and 0 or 1 is halved until it is. NaN where chance is not known.
    """
    known = np.isfinite(reach(value))

    def end(limit: float) -> Floats:
        near = np.array(value, float)
        far = np.full_like(near, limit)
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            explained = np.abs(value - middle) <= reach(middle)
            near, far = np.where(explained, middle, near), np.where(explained, far, middle)
        return np.where(known, near, np.nan)

    return end(0), end(1)


def _rarer(positives: Cases, negatives: Cases) -> Cases:
    """Take for each finding the class of fewer patients."""
    fewer = positives.patients <= negatives.patients
    both = zip(astuple(positives), astuple(negatives), strict=True)
    return Cases(*(np.where(fewer, *pair) for pair in both))


def _around(value: Floats, ends: Ends) -> Ends:
    """Widen an interval to hold the figure itself, which has its bias still in it."""
    return np.minimum(ends[0], value), np.maximum(ends[1], value)
