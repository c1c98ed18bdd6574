"""Choose operating points on validation: the thresholds at which probabilities become decisions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from chestxray.evaluation.risk_control import misses_allowed, patients_needed
from chestxray.labels import Booleans, Floats, LabelMasks, check_scores, has_both_classes


@dataclass(frozen=True)
class Threshold:
    """An operating point of a finding.

    Attributes:
        value: in 0..1, unrounded; None if validation can't give it.
        lacking: why there is none, a phrase for people; empty if there is one.
    """

    value: float | None
    lacking: str = ""


@dataclass(frozen=True, eq=False)
class Validation:
    """What validation says of one finding, with the decisions at every cut between neighbouring probabilities.

    Attributes:
        positive: `(n,)` which images have it; some do and some don't.
        probability: `(n,)` in 0..1.
        patient: `(n,)` whose they are.
        confidence: of what is assured.
        ranked: `(n,)` probabilities, falling.
        decided: `(c,)` images that are positive at each cut, from none to all.
        true_positives: `(c,)` of them.
    """

    positive: Booleans
    probability: Floats
    patient: npt.NDArray[np.intp]
    confidence: float
    ranked: Floats
    decided: npt.NDArray[np.intp]
    true_positives: npt.NDArray[np.intp]

    @classmethod
    def of(cls, positive: Booleans, probability: Floats, patient: npt.NDArray[np.intp], confidence: float) -> Self:
        """Rank the images."""
        order = np.argsort(-probability, kind="stable")
        ranked = probability[order]
        # A cut stands below each distinct probability; above the first one nothing is positive.
        decided = np.append(0, np.flatnonzero(np.diff(ranked, append=-1.0)) + 1)
        true_positives = np.append(0, np.cumsum(positive[order]))[decided]
        return cls(positive, probability, patient, confidence, ranked, decided, true_positives)

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
        return self.decided - self.true_positives

    def threshold(self, cut: int) -> float:
        """Return the number midway between the probabilities on both sides of a cut."""
        above, below = np.concatenate([[1.0], self.ranked, [0.0]])[self.decided[cut] : self.decided[cut] + 2]
        middle = (above + below) / 2
        return float(middle if middle > below else above)


def _first_of_best(found: Validation, merit: npt.NDArray[np.float64] | npt.NDArray[np.intp] | Booleans) -> Threshold:
    """Take the cut of the greatest merit; among equals that of the fewest positive images, the highest specificity."""
    return Threshold(found.threshold(int(np.argmax(merit))))


def _f1(found: Validation, _: float) -> Threshold:
    return _first_of_best(found, 2 * found.true_positives / (found.positives + found.decided))


def _youden(found: Validation, _: float) -> Threshold:
    # Youden's J times both counts: whole numbers, so that equals are equal.
    merit = found.true_positives * found.negatives - found.false_positives * found.positives
    return _first_of_best(found, merit)


def _sensitivity(found: Validation, wanted: float) -> Threshold:
    return _first_of_best(found, found.true_positives >= wanted * found.positives)


def _specificity(found: Validation, wanted: float) -> Threshold:
    reached = found.negatives - found.false_positives >= wanted * found.negatives
    return _first_of_best(found, np.where(reached, found.true_positives, -1))


def _ppv(found: Validation, wanted: float) -> Threshold:
    reached = (found.decided > 0) & (found.true_positives >= wanted * found.decided)
    if not reached.any():
        best = (found.true_positives[1:] / found.decided[1:]).max()
        return Threshold(None, f"no threshold reaches it on validation, where the highest is {best:.2f}")
    return _first_of_best(found, np.where(reached, found.true_positives, -1))


def _assured_sensitivity(found: Validation, wanted: float) -> Threshold:
    patients = found.patient[found.positive]
    allowed = misses_allowed(found.probability[found.positive], patients, wanted, found.confidence)
    if allowed is None:
        needed, people = patients_needed(wanted, found.confidence), len(np.unique(patients))
        return Threshold(None, f"it needs {needed} validation patients with the finding, there are {people}")
    return _first_of_best(found, found.true_positives >= found.positives - allowed)


RULES: dict[str, Callable[[Validation, float], Threshold]] = {
    "f1": _f1,
    "youden": _youden,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "ppv": _ppv,
    "assured_sensitivity": _assured_sensitivity,
}
"""How a threshold is chosen, by the first part of the operating point's name; the second, after @, is what to reach."""
WITHOUT_TARGET = ("f1", "youden")
NAMES = "f1, youden, sensitivity@0.9, specificity@0.9, ppv@0.5 or assured_sensitivity@0.9 (any number between 0 and 1)"


def parse_operating_point(name: str) -> tuple[str, float]:
    """Read the name of an operating point: its rule, and what it is to reach (NaN of the rules without).

    Raises:
        ValueError: none of `NAMES`.

    Example:
        >>> parse_operating_point("specificity@0.9")
        ('specificity', 0.9)
    """
    rule, at, target = name.partition("@")
    if rule in WITHOUT_TARGET and not at:
        return rule, np.nan
    plain = re.fullmatch(r"[01]?\.?[0-9]{1,6}", target, re.ASCII)
    if rule in RULES and rule not in WITHOUT_TARGET and plain:
        number = float(target)
        if 0 < number < 1 or (number == 1 and rule != "assured_sensitivity"):
            return rule, number
    raise ValueError(f"an operating point is {NAMES}, got {name!r}")


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
        name: one of `NAMES`.
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
        found[finding] = RULES[rule](Validation.of(positive, scores[rows, finding], patient[rows], confidence), target)
    return tuple(found)
