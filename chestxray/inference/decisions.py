"""Decide which findings are positive: the one rule, probability >= threshold."""

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, check_scores


def decide(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike) -> Booleans:
    """Decide: a finding is positive where its probability reaches its threshold.

    Args:
        probabilities: `(n, k)` in 0..1.
        thresholds: `(k,)` in 0..1.

    Returns:
        `(n, k)` bool.

    Raises:
        ValueError: wrong shapes or values.

    Example:
        >>> decide([[0.1, 0.9, 0.95]], [0.9, 0.9, 0.9]).tolist()
        [[False, True, True]]
    """
    columns = [f"finding {place + 1}" for place in range(np.size(thresholds))]
    operating_points = check_scores(np.asarray(thresholds)[None], "thresholds", columns, images=1, low=0, high=1)
    return check_scores(probabilities, "probabilities", columns, low=0, high=1) >= operating_points
