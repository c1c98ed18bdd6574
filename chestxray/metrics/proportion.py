"""Say how sure a share is that was counted: Wilson's 95 % interval."""

from scipy.stats import binomtest

from chestxray.metrics.bootstrap import Estimate


def estimate_share(count: int, total: int) -> Estimate:
    """Return a share and its 95 % interval (Wilson, Journal of the American Statistical Association 22, 1927).

    Args:
        count: of the cases that have it, 0 to `total`.
        total: of all cases, at least 1.

    Raises:
        ValueError: another count, or no case.

    Example:
        >>> [round(value, 3) for value in estimate_share(2, 200)]
        [0.01, 0.003, 0.036]
    """
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return Estimate(count / total, float(interval.low), float(interval.high))
