"""Correct p-values for how many hypotheses were tested."""

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats


def holm(p: npt.ArrayLike) -> Floats:
    """Adjust p-values so that all below a level are right together, but for a probability of that level at most.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.

    Args:
        p: `(m,)` in 0..1, of tests that may depend on each other.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
