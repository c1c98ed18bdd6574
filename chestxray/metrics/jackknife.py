"""Leave out one patient at a time to say how far a figure would vary with other patients, and how far it is off.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11. Unlike a bootstrap it draws nothing,
so it needs no seed, and no finding loses a class that has two patients.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, Weights, drawn_once
from chestxray.tracking.progress import progress

GROUPS = 2000
"""Samples at most: of more patients, groups of equal number are left out, which bounds the time."""
CHUNK = 60_000
"""Weights held at once, in numbers: bounds the memory, whatever the number of patients.

Four times as many take twice as long: arrays leave the processor's cache.
"""


class Spread(NamedTuple):
    """A figure of a sample, and what the samples without a patient say of it; arrays of one shape.

    Attributes:
        value: of the whole sample.
        bias: by how much it is too high on average.
        error: standard error.
        freedom: degrees of freedom of the standard error, that is, from how many patients it is known.
    """

    value: Floats
    bias: Floats
    error: Floats
    freedom: Floats

    def at(self, place: int) -> "Spread":
        """Return the spread of one finding."""
        return Spread(*(np.asarray(values)[place] for values in self))


def deletion_weights(patients: npt.ArrayLike) -> Iterator[Weights]:
    """Leave out each patient in turn, or each of `GROUPS` groups of patients if there are more.

    Args:
        patients: `(n,)` ids of at least two patients.

    Yields:
        `(b, n)` int32, a row a sample: 0 for the images that are left out, 1 for the others.
    """
    ids, patient = np.unique(np.asarray(patients), return_inverse=True)
    groups = min(GROUPS, len(ids))
    chunk = max(1, CHUNK // len(patient))
    starts = range(0, groups, chunk)
    for start in progress(starts, "jackknife", len(starts), unit="chunk"):
        rows = np.arange(start, min(start + chunk, groups))
        yield (patient % groups != rows[:, None]).astype(np.int32)


def jackknife(statistics: Callable[[Weights], dict[str, Floats]], patients: npt.ArrayLike) -> dict[str, Spread]:
    """Compute statistics of the sample, and their spread over patients.

    Args:
        statistics: of each row of weights `(b, n)`: name → `(b, …)`.
        patients: `(n,)` ids of at least two patients.

    Returns:
        Name → arrays `(…)`; NaN where a statistic does not exist without some patient.
    """
    point = statistics(drawn_once(len(np.asarray(patients))))
    chunks = [statistics(weights) for weights in deletion_weights(patients)]
    return {
        name: spread(values[0], np.concatenate([chunk[name] for chunk in chunks])) for name, values in point.items()
    }


def spread(value: Floats, without: Floats) -> Spread:
    """Compute the spread of a figure.

    The degrees of freedom are Satterthwaite's: a variance that rests on few patients, since the others have neither the
    finding nor many images, is itself known to few degrees of freedom, as the fourth moment shows.

    Args:
        value: `(…)` of the sample.
        without: `(g, …)` of the samples without a patient.
    """
    samples = len(without)
    mean = without.mean(axis=0)
    deviation = without - mean
    square = (deviation**2).sum(axis=0)
    fourth = (deviation**4).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = 2 / np.maximum(fourth / square**2 - 1 / samples, 2 / (samples - 1))
    freedom = np.where(square > 0, freedom, samples - 1.0)
    error = np.sqrt((samples - 1) / samples * square)
    return Spread(np.asarray(value), (samples - 1) * (mean - value), error, freedom)
