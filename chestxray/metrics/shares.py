"""Measure shares of images, such as sensitivities, with 95 % intervals over patients."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, Floats
from chestxray.metrics.interval import Cases, share_interval
from chestxray.metrics.jackknife import jackknife
from chestxray.metrics.ranking import ratio


class Shares(NamedTuple):
    """Shares of images; arrays `(k,)`.

    Attributes:
        value: 0..1; 0 of no images.
        low: lower end of the interval; NaN where too few patients have such images.
        high: its upper end.
        n: images that it is of.
    """

    value: Floats
    low: Floats
    high: Floats
    n: npt.NDArray[np.intp]


def measure_shares(hits: Booleans, cases: Booleans, patients: npt.ArrayLike, min_patients: int) -> Shares:
    """Measure the share of cases that are hits.

    Args:
        hits: `(n, k)` of n images.
        cases: `(n, k)` images that each share is of.
        patients: `(n,)` ids of at least two patients.
        min_patients: with such images, that an interval needs.

    Example:
        >>> hits, cases = np.array([[True], [True], [False], [False]]), np.array([[True], [True], [True], [False]])
        >>> found = measure_shares(hits, cases, ["a", "b", "c", "d"], min_patients=2)
        >>> found.value.round(2).tolist(), found.n.tolist()
        ([0.67], [3])
    """
    both = hits & cases

    def share(weights: npt.NDArray[np.int32]) -> dict[str, Floats]:
        counted = weights.astype(float)
        return {"share": np.asarray(ratio(counted @ both, counted @ cases))}

    found = jackknife(share, patients)["share"]
    counted = Cases.count(cases, patients)
    enough = counted.patients >= min_patients
    low, high = (np.where(enough, end, np.nan) for end in share_interval(found, counted))
    return Shares(found.value, low, high, cases.sum(axis=0))
