"""Describe an operating point: the threshold at which probabilities become decisions, and what these are worth.

A predictive value of a test set is counted there, and its interval allows for the prevalence that chance gave it;
Bayes' rule gives it for a prevalence that a caller knows.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, NamedTuple, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from chestxray.inference.numbers import Cases, Probability, Text
from chestxray.labels import Floats

OperatingPointName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,30}(@[0-9.]{1,20})?$")]


Reason = Annotated[Text, Field(max_length=300)]
NO_NPV_INTERVAL = (
    "NPV has no interval: it is nearly 1 minus the prevalence, of which the test images say too little. "
    "At a prevalence that is known it has one."
)
CALLERS_OWN = "threshold"
"""Name of the operating point that a caller gives as a number; no model has one of that name."""


class Rate(BaseModel):
    """A share of images, with the ends of its 95 % interval over patients; None where there are too few for one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[Probability, Field(examples=[0.9])]
    low: Annotated[Probability | None, Field(examples=[0.82])]
    high: Annotated[Probability | None, Field(examples=[0.95])]
    n: Annotated[Cases, Field(examples=[64])]
    """Images that it is from."""

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError("a value lies within its interval")
        return self

    @property
    def point(self) -> "Rate":
        """The share without its interval."""
        return Rate(value=self.value, low=None, high=None, n=self.n)

    @property
    def complement(self) -> "Rate":
        """The share of the other images."""
        low = None if self.high is None else 1 - self.high
        high = None if self.low is None else 1 - self.low
        return Rate(value=1 - self.value, low=low, high=high, n=self.n)


class PredictiveValues(NamedTuple):
    """How often decisions are right, at a prevalence; None where nothing would be positive, or nothing negative."""

    prevalence: float
    ppv: Rate | None
    npv: Rate | None


class OperatingPoint(BaseModel):
    """A threshold of a finding, chosen on validation, and how its decisions did on the test images.

    Attributes:
        threshold: from which calibrated probability on the finding is positive; None if validation can't give one.
        lacking: why there is none, for people; empty if there is one.
        sensitivity: on test; None if no test image has the finding, or there is no threshold.
        specificity: on test; None if none lacks it, or there is no threshold.
        ppv: share of the positive test images that have it, with an interval for others drawn alike; None if none is
            positive, and in older bundles.
        npv: share of the negative ones that lack it, without interval (`NO_NPV_INTERVAL`); None as above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: Probability | None
    lacking: Reason = ""
    sensitivity: Rate | None = None
    specificity: Rate | None = None
    ppv: Rate | None = None
    npv: Rate | None = None

    @property
    def test_prevalence(self) -> float | None:
        """Share of the test images that label the finding which have it; None if all or none do."""
        if self.sensitivity is None or self.specificity is None:
            return None
        return self.sensitivity.n / (self.sensitivity.n + self.specificity.n)

    def predictive_values(self, prevalence: float | None = None) -> PredictiveValues | None:
        """Return both predictive values at a prevalence, or as counted on the test images; None if it was not tested.

        Those of the test images have an interval that allows for their prevalence, or none. An older bundle did not
        count them: Bayes' rule does, without interval.
        """
        at = self.test_prevalence
        if self.sensitivity is None or self.specificity is None or at is None:
            return None
        if prevalence is not None:
            return predictive_values(self.sensitivity, self.specificity, prevalence)
        if self.ppv is not None or self.npv is not None:
            return PredictiveValues(at, self.ppv, self.npv)
        return predictive_values(self.sensitivity.point, self.specificity.point, at)


class HasThreshold(Protocol):
    """What has a threshold, or none."""

    @property
    def threshold(self) -> float | None:
        """From which on a finding is positive."""


def threshold_values(points: Iterable[HasThreshold]) -> Floats:
    """Return the thresholds of k findings as numbers: `(k,)`, NaN where there is none."""
    return np.array([np.nan if point.threshold is None else point.threshold for point in points])


@lru_cache(maxsize=512)
def predictive_values(sensitivity: Rate, specificity: Rate, prevalence: float) -> PredictiveValues:
    """Compute the positive and the negative predictive value at a prevalence (Bayes' rule).

    Source: Altman and Bland, BMJ 309, 1994. Both hang on one likelihood ratio, whose interval is put together from
    those of its two shares on the logarithmic scale (MOVER-R in the words of Donner and Zou, Statistical Methods in
    Medical Research 21, 2012); it says how far chance in the test set reaches, and takes the prevalence as known.

    Args:
        sensitivity: of the decisions.
        specificity: of them.
        prevalence: share of the images to be decided on that have the finding, in (0, 1).

    Raises:
        ValueError: a prevalence that is not between 0 and 1.

    Example:
        >>> nine_of_ten = Rate(value=0.9, low=None, high=None, n=100)
        >>> found = predictive_values(nine_of_ten, nine_of_ten, prevalence=0.1)
        >>> round(found.ppv.value, 2), round(found.npv.value, 3)
        (0.5, 0.988)
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"a prevalence lies between 0 and 1, got {prevalence}")
    odds = prevalence / (1 - prevalence)
    ppv = _share_that_is_right(sensitivity, specificity.complement, odds)
    npv = _share_that_is_right(specificity, sensitivity.complement, 1 / odds)
    return PredictiveValues(prevalence, ppv, npv)


def _share_that_is_right(right: Rate, wrong: Rate, odds: float) -> Rate | None:
    """Compute odds × right / (odds × right + wrong), which falls as wrong / right grows."""
    if not right.value and not wrong.value:
        return None
    value = odds * right.value / (odds * right.value + wrong.value)
    n = right.n + wrong.n
    if right.low is None or wrong.low is None:
        return Rate(value=value, low=None, high=None, n=n)
    low, high = (1 / (1 + math.exp(end) / odds) for end in reversed(_log_ratio_ends(wrong, right)))
    return Rate(value=value, low=min(low, value), high=max(high, value), n=n)


def _log_ratio_ends(top: Rate, bottom: Rate) -> tuple[float, float]:
    """Compute the interval of log(top / bottom) from those of both; of their ends alone where one of them is 0."""
    a, a_low, a_high = (_log(each) for each in (top.value, top.low, top.high))
    b, b_low, b_high = (_log(each) for each in (bottom.value, bottom.low, bottom.high))
    if not top.value or not bottom.value:
        return a_low - b_high, a_high - b_low
    return a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def _log(share: float | None) -> float:
    """Return the logarithm of a share, and a very small one instead of that of 0, or nearly 0."""
    return max(math.log(share), -100.0) if share else -100.0
