"""Say what decisions are worth, right ones less wrong ones: the net benefit of a threshold.

Source: Vickers and Elkin, "Decision Curve Analysis: A Novel Method for Evaluating Prediction Models", Medical Decision
Making 26, 2006. Who acts from a probability p on holds a missed finding for (1 − p) / p times as bad as a false alarm:
a false alarm costs p / (1 − p) of a finding that is found.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, Floats
from chestxray.metrics.shares import measure_shares


class Benefit(NamedTuple):
    """A value and the ends of its 95 % interval over patients, `(t,)`; NaN where too few patients have the finding."""

    value: Floats
    low: Floats
    high: Floats


class NetBenefit(NamedTuple):
    """Net benefit an image at t thresholds: findings found, less false alarms at their cost.

    Attributes:
        model: of acting where the probability reaches the threshold; of acting on no image it is 0, so the interval
            also says whether the model is better than that.
        treat_all: `(t,)` of acting on every image.
        gain: model less `treat_all`.
    """

    model: Benefit
    treat_all: Floats
    gain: Benefit


def net_benefit(
    present: Booleans, probabilities: Floats, patients: npt.ArrayLike, thresholds: npt.ArrayLike, min_patients: int
) -> NetBenefit:
    """Compute the net benefit of one finding.

    Args:
        present: `(n,)` which images have it.
        probabilities: `(n,)`.
        patients: `(n,)` ids, of at least two patients.
        thresholds: `(t,)` in (0, 0.5]: from there on a false alarm would cost more than a finding is worth.
        min_patients: of either class, that an interval needs.

    Example:
        >>> truth, scores = np.array([True, False, False, True]), np.array([0.9, 0.3, 0.1, 0.2])
        >>> found = net_benefit(truth, scores, list("abcd"), [0.25], 2)
        >>> found.model.value.round(4).tolist(), found.treat_all.round(4).tolist()
        ([0.1667], [0.3333])
    """
    cuts = np.asarray(thresholds, float)
    people = np.asarray(patients)
    cost = cuts / (1 - cuts)
    called = probabilities[:, None] >= cuts
    ill = np.broadcast_to(present[:, None], called.shape)
    rarer = min(len(np.unique(people[images])) for images in (present, ~present))
    enough = 1 if rarer >= min_patients else len(people) + 1  # more than there are: no interval

    def share(images: Booleans) -> Benefit:
        return Benefit(*measure_shares(images, np.ones_like(images), people, enough)[:3])

    saved = _less(share(~ill & ~called), share(ill & ~called), 1 / cost)
    model = _less(share(ill & called), share(~ill & called), cost)
    most = share(ill).high  # all findings found, without alarms
    return NetBenefit(
        model=model._replace(high=np.minimum(model.high, most)),
        treat_all=present.mean() - (1 - present.mean()) * cost,
        gain=Benefit(*(each * cost for each in saved)),
    )


def _less(good: Benefit, bad: Benefit, cost: Floats) -> Benefit:
    """Return good − cost × bad of images that are the one, the other or neither.

    The intervals of the two shares are combined (Zou and Donner, Statistics in Medicine 27, 2008, with their
    correlation), so the result has a length also where no image is of one kind, which a standard error does not see.
    """
    odds = good.value * bad.value / np.maximum((1 - good.value) * (1 - bad.value), 1e-9)
    correlation = np.minimum(np.sqrt(odds), 1)  # of multinomial shares, less its sign

    def reach(one: Floats, other: Floats) -> Floats:
        return np.sqrt(one**2 + (cost * other) ** 2 + 2 * correlation * one * cost * other)

    value = good.value - cost * bad.value
    low = value - reach(good.value - good.low, bad.high - bad.value)
    high = value + reach(good.high - good.value, bad.value - bad.low)
    return Benefit(value, low, high)
