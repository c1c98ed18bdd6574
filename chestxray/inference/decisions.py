"""Decide which findings are positive: the one rule, probability >= threshold where the status allows a decision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.inference.card import Card, OptionsError
from chestxray.inference.operating_point import CALLERS_OWN
from chestxray.inference.status import Status, has_decision
from chestxray.labels import Booleans, Floats, check_scores


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Thresholds of k findings.

    Attributes:
        name: of the operating point, or `CALLERS_OWN`.
        values: `(k,)` in 0..1; NaN where there is none.
        asked: whether the caller named them, which lets them decide on insufficient findings too.
    """

    name: str
    values: Floats
    asked: bool = False


def choose_thresholds(card: Card, operating_point: str | None = None, threshold: float | None = None) -> Thresholds:
    """Return the thresholds to decide by: those of the model, of one of its other operating points, or the caller's.

    Args:
        card: of the model.
        operating_point: by name.
        threshold: of every finding, 0..1.

    Raises:
        OptionsError: both are given, or the model has no such operating point.
    """
    if threshold is None:
        return Thresholds(operating_point or card.operating_point, card.thresholds(operating_point))
    if operating_point is not None:
        raise OptionsError("name an operating_point or a threshold, not both")
    return Thresholds(CALLERS_OWN, np.full(len(card.findings), threshold), asked=True)


def decided(thresholds: Floats, status: Sequence[Status], asked: bool = False) -> Booleans:
    """Return which findings are decided on: `(k,)`, those whose status allows it and that have a threshold."""
    return np.asarray(has_decision(status, asked) & np.isfinite(thresholds))


def decide(
    probabilities: npt.ArrayLike, thresholds: npt.ArrayLike, status: Sequence[Status], asked: bool = False
) -> Booleans:
    """Decide: a finding is positive where its number reaches its threshold and its status allows a decision.

    Args:
        probabilities: `(n, k)` in 0..1.
        thresholds: `(k,)` in 0..1; NaN where there is none.
        status: of the k findings.
        asked: whether the caller named the thresholds, which lets them decide on insufficient findings too.

    Returns:
        `(n, k)` bool; false where nothing is decided.

    Raises:
        ValueError: wrong shapes or values.

    Example:
        >>> decide([[0.1, 0.9, 0.95]], [0.9, 0.9, 0.9], ["learned", "learned", "insufficient"]).tolist()
        [[False, True, False]]
    """
    columns = [f"finding {place + 1}" for place in range(len(status))]
    cuts = np.asarray(thresholds, float)
    known = check_scores(np.where(np.isnan(cuts), 1.0, cuts)[None], "thresholds", columns, images=1, low=0, high=1)
    reached = check_scores(probabilities, "probabilities", columns, low=0, high=1) >= known
    return np.asarray(reached & decided(cuts, status, asked))
