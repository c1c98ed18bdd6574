"""Measure means over images of what lies in 0..1, such as sensitivities, with 95 % intervals over patients."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, Floats
from chestxray.metrics.interval import Cases, Ends, bounded_interval, share_interval, student
from chestxray.metrics.jackknife import Spread, spread, sums_left
from chestxray.metrics.proportion import wilson_interval
from chestxray.metrics.ranking import ratio


class Shares(NamedTuple):
    """Means over images; arrays `(k,)`.

    Attributes:
        value: 0 of no images.
        low: lower end of the interval; NaN where too few patients have such images.
        high: its upper end.
        n: images that it is of.
    """

    value: Floats
    low: Floats
    high: Floats
    n: npt.NDArray[np.intp]


def measure_shares(values: npt.ArrayLike, cases: Booleans, patients: npt.ArrayLike, min_patients: int) -> Shares:
    """Measure the share of cases that are hits.

    Args:
        values: `(n, k)` of n images, true or false (1 or 0); those of other images make no difference.
        cases: `(n, k)` images that each mean is over.
        patients: `(n,)` ids of at least two patients.
        min_patients: with such images, that an interval needs.

    Example:
        >>> hits, cases = np.array([[True], [True], [False], [False]]), np.array([[True], [True], [True], [False]])
        >>> found = measure_shares(hits, cases, ["a", "b", "c", "d"], min_patients=2)
        >>> found.value.round(2).tolist(), found.n.tolist()
        ([0.67], [3])
    """
    return _within(share_interval, values, cases, patients, min_patients)


def measure_means(values: npt.ArrayLike, cases: Booleans, patients: npt.ArrayLike, min_patients: int) -> Shares:
    """Measure the mean of numbers in 0..1 over cases, of which not all are 0 or 1; arguments as above.

    A share's interval would be too wide: it takes each case for a yes or a no, whose variance is larger.
    """
    return _within(bounded_interval, values, cases, patients, min_patients)


def measure_differences(values: npt.ArrayLike, cases: Booleans, patients: npt.ArrayLike, min_patients: int) -> Shares:
    """Measure the mean of differences in -1..1 over cases, by Student's interval; arguments as above.

    Where all cases have the same difference, so that nothing shows how it varies, the interval is as wide as that of a
    share of so many patients.
    """
    return _within(_student_interval, values, cases, patients, min_patients)


def _student_interval(found: Spread, counted: Cases) -> Ends:
    patients = np.maximum(counted.patients, 1)
    reach = student(np.minimum(found.freedom, patients - 1)) * found.error
    alike = wilson_interval((found.value + 1) / 2, patients, student(patients - 1))
    sides = ((found.value - reach, alike[0]), (found.value + reach, alike[1]))
    low, high = (np.clip(np.where(found.error > 0, end, 2 * share - 1), -1, 1) for end, share in sides)
    return low, high


def _within(
    interval: Callable[[Spread, Cases], Ends],
    values: npt.ArrayLike,
    cases: Booleans,
    patients: npt.ArrayLike,
    min_patients: int,
) -> Shares:
    """Measure means, with an interval of a kind where enough patients have such images."""
    found, counted = _mean(values, cases, patients), Cases.count(cases, patients)
    enough = counted.patients >= min_patients
    low, high = (np.where(enough, end, np.nan) for end in interval(found, counted))
    return Shares(found.value, low, high, cases.sum(axis=0))


def _mean(values: npt.ArrayLike, cases: Booleans, patients: npt.ArrayLike) -> Spread:
    total, without = sums_left(np.where(cases, np.asarray(values, float), 0.0), patients)
    count, count_without = sums_left(np.asarray(cases, float), patients)
    return spread(np.asarray(ratio(total, count)), np.asarray(ratio(without, count_without)))
