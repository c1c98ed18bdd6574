"""Choose operating points on validation: the thresholds at which probabilities become decisions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from chestxray.evaluation.risk_control import misses_allowed, patients_needed
from chestxray.labels import Booleans, Floats, LabelMasks, check_scores, has_both_classes
from chestxray.params import OPERATING_POINT, OPERATING_POINTS

ROUNDING = 1e-9
"""Of images: 0.55 of 100 are 55, and not 55.00000000000001."""


@dataclass(frozen=True)
class Threshold:
    """An operating point of a finding.

    Attributes:
        threshold: in 0..1, unrounded; None if validation can't give it.
        lacking: why there is none, a phrase for people; empty if there is one.
    """

    threshold: float | None
    lacking: str = ""


@dataclass(frozen=True, eq=False)
class Cuts:
    """What validation says of one finding, with the decisions at every cut between neighbouring probabilities.

    Attributes:
        positive: `(n,)` which images have it; some do and some don't.
        probability: `(n,)` in 0..1.
        patient: `(n,)` whose they are.
        confidence: of what is assured.
        ranked: `(n,)` probabilities, falling.
        called: `(c,)` images that are positive at each cut, from none to all.
        true_positives: `(c,)` of them.
    """

    positive: Booleans
    probability: Floats
    patient: npt.NDArray[np.intp]
    confidence: float
    ranked: Floats
    called: npt.NDArray[np.intp]
    true_positives: npt.NDArray[np.intp]

    @classmethod
    def of(cls, positive: Booleans, probability: Floats, patient: npt.NDArray[np.intp], confidence: float) -> Self:
        """Rank the images."""
        order = np.argsort(-probability, kind="stable")
        ranked = probability[order]
        # A cut stands below each distinct probability; above the first one nothing is positive.
        called = np.append(0, np.flatnonzero(np.diff(ranked, append=-1.0)) + 1)
        true_positives = np.append(0, np.cumsum(positive[order]))[called]
        return cls(positive, probability, patient, confidence, ranked, called, true_positives)

    @property
    def positives(self) -> int:
        """Images with the finding."""
        return int(np.count_nonzero(self.positive))

    @property
    def negatives(self) -> int:
        """Images without it."""
        return len(self.positive) - self.positives

    @property
    def false_positives(self) -> npt.NDArray[np.intp]:
        """`(c,)` images without it that are positive at each cut."""
        return self.called - self.true_positives

    def threshold(self, cut: int) -> float:
        """Return the number midway between the probabilities on both sides of a cut."""
        above, below = np.concatenate([[1.0], self.ranked, [0.0]])[self.called[cut] : self.called[cut] + 2]
        middle = (above + below) / 2
        return float(middle if middle > below else above)


def _first_of_best(found: Cuts, merit: npt.NDArray[np.float64] | npt.NDArray[np.intp] | Booleans) -> Threshold:
    """Take the cut of the greatest merit; among equals that of the fewest positive images, the highest specificity."""
    return Threshold(found.threshold(int(np.argmax(merit))))


def _f1(found: Cuts, _: float) -> Threshold:
    return _first_of_best(found, 2 * found.true_positives / (found.positives + found.called))


def _youden(found: Cuts, _: float) -> Threshold:
    # Youden's J times both counts: whole numbers, so that equals are equal.
    merit = found.true_positives * found.negatives - found.false_positives * found.positives
    return _first_of_best(found, merit)


def _sensitivity(found: Cuts, wanted: float) -> Threshold:
    return _first_of_best(found, found.true_positives >= wanted * found.positives - ROUNDING)


def _specificity(found: Cuts, wanted: float) -> Threshold:
    reached = found.negatives - found.false_positives >= wanted * found.negatives - ROUNDING
    return _first_of_best(found, np.where(reached, found.true_positives, -1))


def _ppv(found: Cuts, wanted: float) -> Threshold:
    reached = (found.called > 0) & (found.true_positives >= wanted * found.called - ROUNDING)
    if not reached.any():
        best = (found.true_positives[1:] / found.called[1:]).max()
        return Threshold(None, f"no threshold reaches it on validation, where the highest is {best:.2f}")
    return _first_of_best(found, np.where(reached, found.true_positives, -1))


def _assured_sensitivity(found: Cuts, wanted: float) -> Threshold:
    patients = found.patient[found.positive]
    allowed = misses_allowed(found.probability[found.positive], patients, wanted, found.confidence)
    if allowed is None:
        needed, people = patients_needed(wanted, found.confidence), len(np.unique(patients))
        return Threshold(None, f"it needs {needed} validation patients with the finding, there are {people}")
    return _first_of_best(found, found.true_positives >= found.positives - allowed)


RULES: dict[str, Callable[[Cuts, float], Threshold]] = {
    "f1": _f1,
    "youden": _youden,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "ppv": _ppv,
    "assured_sensitivity": _assured_sensitivity,
}
"""How a threshold is chosen, by the first part of the operating point's name; the second, after @, is what to reach."""


def parse_operating_point(name: str) -> tuple[str, float]:
    """Read the name of an operating point: its rule, and what it is to reach (NaN of the rules without).

    Raises:
        ValueError: it is no operating point.

    Example:
        >>> parse_operating_point("specificity@0.9")
        ('specificity', 0.9)
    """
    if not re.fullmatch(OPERATING_POINT, name):
        raise ValueError(f"an operating point is {OPERATING_POINTS}; got {name!r}")
    rule, _, target = name.partition("@")
    return rule, float(target) if target else np.nan


def fit_thresholds(
    labels: LabelMasks, probabilities: npt.ArrayLike, patients: npt.ArrayLike, name: str, confidence: float
) -> tuple[Threshold, ...]:
    """Choose each finding's threshold on validation, exactly, over all cuts between neighbouring probabilities.

    `f1` reaches the greatest F1; `youden` the greatest sensitivity + specificity - 1 (Youden, Cancer 3, 1950);
    `sensitivity@s` is the highest threshold with a sensitivity of at least s; `specificity@s` and `ppv@s` are the ones
    of the highest sensitivity with a specificity, or a positive predictive value, of at least s;
    `assured_sensitivity@s` is the highest threshold of which validation shows, with `confidence`, that its sensitivity
    on other patients is at least s (see `risk_control.misses_allowed`). Among equals the one of the highest specificity
    is taken; the threshold stands midway between the neighbouring probabilities (0 and 1 at the ends, so a probability
    of exactly 1, which calibration never gives, is always positive).

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)` in 0..1.
        patients: `(n,)` ids.
        name: of the operating point, as `evaluate.operating_points` takes it.
        confidence: of what is assured, in (0, 1).

    Returns:
        k thresholds; none where validation can't give it, and never another in its place.

    Raises:
        ValueError: wrong shapes, values or name.
    """
    rule, target = parse_operating_point(name)
    scores = check_scores(probabilities, "probabilities", labels.findings, len(labels), low=0, high=1)
    patient = np.unique(np.asarray(patients), return_inverse=True)[1]
    if patient.shape != (len(labels),):
        raise ValueError(f"patients must be ({len(labels)},), one id an image; got {patient.shape}")
    found = [Threshold(None, "validation has no images both with and without the finding")] * len(labels.findings)
    for finding in np.flatnonzero(has_both_classes(labels)).tolist():
        rows, positive = labels.labelled_rows(finding)
        found[finding] = RULES[rule](Cuts.of(positive, scores[rows, finding], patient[rows], confidence), target)
    return tuple(found)
