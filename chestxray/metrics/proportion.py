"""Say how sure a share is that was counted: Wilson's 95 % interval."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from chestxray.labels import Floats

LEVEL = 0.95


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def wilson_interval(share: npt.ArrayLike, cases: npt.ArrayLike, quantile: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Compute Wilson's interval of a share (Journal of the American Statistical Association 22, 1927).

    Args:
        share: 0..1.
        cases: independent ones that it is of, whole or not, above 0.
        quantile: how many standard errors away its ends are.

    Returns:
        Its low and its high end.
    """
    p, n, q = (np.asarray(values, float) for values in (share, cases, quantile))
    middle = p + q**2 / n / 2
    reach = q * np.sqrt(p * (1 - p) / n + (q / n) ** 2 / 4)
    low, high = (np.clip((middle + side * reach) / (1 + q**2 / n), 0, 1) for side in (-1, 1))
    return low, high


def estimate_share(count: int, total: int) -> Estimate:
    """Return a share of independent cases and its 95 % interval (Wilson).

    Args:
        count: of the cases that have it, 0 to `total`.
        total: of all cases, at least 1.

    Raises:
        ValueError: another count, or no case.

    Example:
        >>> [round(value, 3) for value in estimate_share(2, 200)]
        [0.01, 0.003, 0.036]
    """
    if not 0 <= count <= total or not total:
        raise ValueError(f"a share needs a total n of at least 1 and a count of 0 to n, got {count} of {total}")
    low, high = wilson_interval(count / total, total, ndtri((1 + LEVEL) / 2))
    return Estimate(count / total, float(low), float(high))
