"""Leave out one patient at a time to say how far a figure would vary with other patients, and how far it is off.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11. Unlike a bootstrap it draws nothing,
so it needs no seed, and no finding loses a class that has two patients.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.errors import UserError
from chestxray.labels import Floats, Weights, counted_once
from chestxray.tracking.progress import progress

GROUPS = 500
"""Samples at most: of more patients, groups of nearly equal number are left out, which bounds the time."""
CHUNK = 60_000
"""Weights held at once, in numbers: bounds the memory, whatever the number of patients.

Four times as many take twice as long: arrays leave the processor's cache.
"""


QUICK = 20
"""Chunks that are done before anyone wonders: their progress is not shown."""


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


def check_patients(patients: npt.ArrayLike, images: int) -> npt.NDArray[Any]:
    """Check patient ids: `(n,)`, of at least two patients, since one alone says nothing of others.

    Raises:
        ValueError: another shape, an id that is none, ids that are text and numbers, or a single patient.
    """
    array = np.asarray(patients)
    if array.shape != (images,):
        raise ValueError(f"patients must be ({images},), one id an image; got {array.shape}")
    strange = [value for value in array.tolist() if not isinstance(value, str | int)]
    if strange or len({type(value) for value in array.tolist()}) > 1:
        raise ValueError(f"patients must be all text or all whole numbers; {len(strange)} of {images} are neither")
    if len(np.unique(array)) < 2:
        raise UserError("an interval needs at least 2 patients, got only 1; give more patients")
    return array


def deletion_weights(patients: npt.ArrayLike) -> Iterator[Weights]:
    """Leave out each patient in turn, or each of `GROUPS` groups of patients if there are more.

    Args:
        patients: `(n,)` ids of at least two patients.

    Yields:
        `(b, n)` int32, a row a sample: 0 for the images that are left out, 1 for the others.
    """
    group, groups = _deleted_groups(patients)
    chunk = max(1, CHUNK // len(group))
    left_out = (np.arange(start, min(start + chunk, groups)) for start in range(0, groups, chunk))
    chunks = -(-groups // chunk)
    for rows in progress(left_out, "jackknife", groups, "sample", count=len) if chunks > QUICK else left_out:
        yield (group != rows[:, None]).astype(np.int32)


def _deleted_groups(patients: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], int]:
    """Return which group of patients, left out together, each image is of, `(n,)`, and how many groups there are."""
    ids, patient = np.unique(np.asarray(patients), return_inverse=True)
    groups = min(GROUPS, len(ids))
    return np.asarray(patient % groups), groups


def sums_left(values: Floats, patients: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Add up `values (n, k)` over the sample, and over each sample without a patient, in one pass: `(k,)`, `(g, k)`.

    Each is the whole less what the patient adds, so the samples are those of `deletion_weights` without going through
    the images for each.
    """
    group, groups = _deleted_groups(patients)
    parts = np.zeros((groups, values.shape[1]))
    np.add.at(parts, group, values)
    total = parts.sum(axis=0)
    return total, total - parts


def leave_out(
    statistics: Callable[[Weights], dict[str, Floats]], patients: npt.ArrayLike
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Compute statistics of the sample, and of each sample without a patient.

    Args:
        statistics: of each row of weights `(b, n)`: name → `(b, …)`.
        patients: `(n,)` ids of at least two patients.

    Returns:
        Name → `(…)` of the sample, and name → `(g, …)`; NaN where a statistic does not exist without some patient.
    """
    point = {name: values[0] for name, values in statistics(counted_once(len(np.asarray(patients)))).items()}
    chunks = [statistics(weights) for weights in deletion_weights(patients)]
    return point, {name: np.concatenate([chunk[name] for chunk in chunks]) for name in point}


def jackknife(statistics: Callable[[Weights], dict[str, Floats]], patients: npt.ArrayLike) -> dict[str, Spread]:
    """Compute statistics of the sample, and their spread over patients; see `leave_out` and `spread`."""
    point, without = leave_out(statistics, patients)
    return {name: spread(value, without[name]) for name, value in point.items()}


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
