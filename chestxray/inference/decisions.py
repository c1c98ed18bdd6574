"""Decide which findings are positive: the one rule, probability >= threshold."""

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, check_scores


def decide(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike) -> Booleans:
    """Decide: a finding is positive where its probability reaches its threshold.

    Args:
        probabilities: `(n, 14)` in 0..1.
        thresholds: `(14,)` in 0..1.

    Returns:
        `(n, 14)` bool.

    Raises:
        ValueError: wrong shapes or values.

    Example:
        >>> import numpy as np
        >>> decide(np.linspace(0, 1, 14)[None], np.full(14, 0.9)).sum()
        np.int64(2)
    """
    operating_points = check_scores(np.asarray(thresholds)[None], "thresholds", images=1, low=0, high=1)
    return check_scores(probabilities, "probabilities", low=0, high=1) >= operating_points
