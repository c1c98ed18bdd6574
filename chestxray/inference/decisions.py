"""Decide which findings are positive: the one rule, probability >= threshold where the status allows a decision."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chestxray.inference.status import Status, has_decision
from chestxray.labels import Booleans, check_scores


def decide(
    probabilities: npt.ArrayLike, thresholds: npt.ArrayLike, status: Sequence[Status], asked: bool = False
) -> Booleans:
    """Decide: a finding is positive where its number reaches its threshold and its status allows a decision.

    Args:
        probabilities: `(n, k)` in 0..1.
        thresholds: `(k,)` in 0..1.
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
    operating_points = check_scores(np.asarray(thresholds)[None], "thresholds", columns, images=1, low=0, high=1)
    reached = check_scores(probabilities, "probabilities", columns, low=0, high=1) >= operating_points
    return np.asarray(reached & has_decision(status, asked))
