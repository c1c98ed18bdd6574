"""Measure AUROC, sensitivity and specificity in groups of images, and test whether a group differs from the others.

All groups lose the same patient in each sample of the jackknife, so a patient may have images in several of them, as of
views.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from chestxray.labels import Booleans, Floats, LabelMasks, Weights
from chestxray.metrics.holm import holm
from chestxray.metrics.interval import Cases, auroc_interval, auroc_variance, share_interval
from chestxray.metrics.jackknife import Spread, leave_out, spread
from chestxray.metrics.ranking import rank_findings, ranking_scores, ratio


@dataclass(frozen=True, eq=False)
class GroupMeasure:
    """One measure of k findings in G groups: arrays `(G, k)`, NaN where fewer patients than asked have such images.

    Attributes:
        value: in 0..1.
        low: lower end of its 95 % interval.
        high: its upper end.
        difference: to the mean of the other groups that are compared, weighted by the images that the figure is over
            (of an AUROC, by those with the finding).
        p: of that difference, two-sided, by Holm over the groups of the finding; two groups are one comparison.
    """

    value: Floats
    low: Floats
    high: Floats
    difference: Floats
    p: Floats


@dataclass(frozen=True, eq=False)
class _Counted:
    """The images that a measure is a mean over, in G groups: of one kind, or of two for an AUROC."""

    kinds: tuple[tuple[Cases, ...], ...]
    """By kind, then by group."""

    def images(self, kind: int = 0) -> Floats:
        """Return how many of a kind each group has, `(G, k)`."""
        return np.stack([cases.images for cases in self.kinds[kind]])

    @property
    def patients(self) -> Floats:
        """Of the rarer kind, `(G, k)`."""
        return np.asarray(np.min([[cases.patients for cases in groups] for groups in self.kinds], axis=0))


def measure_groups(
    labels: LabelMasks,
    probabilities: Floats,
    decisions: Booleans,
    patients: npt.ArrayLike,
    groups: Mapping[str, Booleans],
    compared: Booleans,
    min_patients: int,
) -> dict[str, GroupMeasure]:
    """Measure groups of images.

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)`.
        decisions: `(n, k)`.
        patients: `(n,)` ids, of at least two patients.
        groups: by name, `(n,)`: the images of each; none is in two.
        compared: `(G,)` groups that are tested against each other; the others are measured alone.
        min_patients: with such images (for an AUROC, of the rarer class), that a figure needs.

    Returns:
        `auroc`, `sensitivity` and `specificity`.
    """
    people = np.asarray(patients)
    masks = list(groups.values())
    parts = [labels.at(mask) for mask in masks]
    rankings = [rank_findings(part, probabilities[mask]) for part, mask in zip(parts, masks, strict=True)]
    called = [decisions[mask] for mask in masks]

    def figures(weights: Weights) -> dict[str, Floats]:
        found: dict[str, list[Floats]] = {"auroc": [], "sensitivity": [], "specificity": []}
        for mask, part, ranking, positive in zip(masks, parts, rankings, called, strict=True):
            some = weights[:, mask]
            found["auroc"].append(ranking_scores(ranking, some)[0])
            found["sensitivity"].append(_share(positive, part.present, some))
            found["specificity"].append(_share(~positive, part.absent, some))
        return {name: np.stack(values, axis=1) for name, values in found.items()}

    point, without = leave_out(figures, people)
    present, absent = (
        tuple(Cases.count(cases, people[mask]) for cases, mask in zip(classes, masks, strict=True))
        for classes in ([part.present for part in parts], [part.absent for part in parts])
    )
    kinds = {"auroc": (present, absent), "sensitivity": (present,), "specificity": (absent,)}
    return {name: _measure(point[name], without[name], _Counted(kinds[name]), compared, min_patients) for name in point}


def _share(hits: Booleans, cases: Booleans, weights: Weights) -> Floats:
    weighted = weights.astype(float)
    return np.asarray(ratio(weighted @ (hits & cases), weighted @ cases))


def _measure(point: Floats, without: Floats, counted: _Counted, compared: Booleans, min_patients: int) -> GroupMeasure:
    enough = counted.patients >= min_patients
    found = spread(point, without)
    interval: Callable[..., tuple[Floats, Floats]] = auroc_interval if len(counted.kinds) == 2 else share_interval
    ends = []
    for group in range(len(point)):
        own = Spread(*(values[group] for values in found))
        ends.append(interval(own, *(cases[group] for cases in counted.kinds)))
    low, high = (np.stack(each) for each in zip(*ends, strict=True))
    difference, p = _test(point, without, counted, enough & compared[:, None])
    value, low, high = (np.where(enough, values, np.nan) for values in (point, low, high))
    return GroupMeasure(value, low, high, difference, p)


def _test(point: Floats, without: Floats, counted: _Counted, kept: Booleans) -> tuple[Floats, Floats]:
    """Test each group that is kept against the mean of the others that are.

    The standard error is that of the jackknife, or that of independent images of groups that don't differ where this is
    larger: of groups without an error the jackknife sees none.
    """
    images = np.where(kept, counted.images(), 0)
    others = images.sum(axis=0) - images

    def differences(values: Floats) -> Floats:
        weighted = np.where(kept, images * values, 0)
        rest = ratio(weighted.sum(axis=-2, keepdims=True) - weighted, others)
        return np.asarray(np.where(kept & (others > 0), values - rest, np.nan))

    found = spread(differences(point), differences(without))
    pooled = ratio(np.where(kept, images * point, 0).sum(axis=0), images.sum(axis=0))
    least = np.sqrt(_variance_if_alike(pooled, counted, kept))
    error = np.fmax(found.error, least)
    patients = np.where(kept, counted.patients, 0)
    fewest = np.minimum(patients, patients.sum(axis=0) - patients)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(found.value == 0, 0, -np.abs(found.value) / error)
        p = 2 * stdtr(np.maximum(np.minimum(found.freedom, fewest - 1), 1), t)
    adjusted = np.full(p.shape, np.nan)
    for finding in range(p.shape[1]):
        tested = np.flatnonzero(np.isfinite(p[:, finding]))
        values = p[tested, finding]
        adjusted[tested, finding] = values if len(tested) == 2 else holm(values)
    return found.value, adjusted


def _variance_if_alike(value: Floats, counted: _Counted, kept: Booleans) -> Floats:
    """Return the variance of a group's difference to the others, if all images are independent and have one value."""
    own = [np.where(kept, counted.images(kind), 0) for kind in range(len(counted.kinds))]
    rest = [images.sum(axis=0) - images for images in own]
    if len(own) == 2:
        both = (np.maximum(each, 1) for each in (*own, *rest))
        positives, negatives, other_positives, other_negatives = both
        return auroc_variance(value, positives, negatives) + auroc_variance(value, other_positives, other_negatives)
    return np.asarray(value * (1 - value) * (1 / np.maximum(own[0], 1) + 1 / np.maximum(rest[0], 1)))
