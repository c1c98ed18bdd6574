"""Find how many patients may be missed so that a sensitivity is reached with confidence, not only on validation.

A threshold that just reaches a sensitivity of 0.9 on validation reaches it on other patients about every second time.
Here the patients of validation are a sample, and the bound holds for those that they were drawn from.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from chestxray.labels import Floats


def patients_needed(sensitivity: float, confidence: float) -> int:
    """Return how many patients with a finding are needed, none of them missed: `sensitivity ** n <= 1 - confidence`.

    Args:
        sensitivity: to be reached, in (0, 1).
        confidence: in (0, 1).

    Example:
        >>> patients_needed(0.9, 0.95)
        29
    """
    return math.ceil(math.log(1 - confidence) / math.log(sensitivity) - 1e-9)


def hoeffding_bentkus(risk: npt.ArrayLike, n: int, level: float, binary: bool = False) -> Floats:
    """Compute p-values of the hypothesis that the true risk is above a level.

    Source: Bates, Angelopoulos, Lei, Malik and Jordan, "Distribution-Free, Risk-Controlling Prediction Sets", Journal
    of the ACM 68, 2021, section 3.1: the smaller of Hoeffding's and Bentkus's bounds, for independent losses in 0..1.

    Args:
        risk: mean losses of a sample.
        n: its size, 1 or more.
        level: in (0, 1).
        binary: the losses are 0 or 1, so that their sum is binomial and Bentkus's bound needs no factor.

    Returns:
        As `risk`, in 0..1.

    Example:
        >>> hoeffding_bentkus([0.0, 0.1], 29, 0.1).round(3).tolist()  # 0.9 ** 29 = 0.047
        [0.047, 1.0]
    """
    mean = np.asarray(risk, float)
    low = np.minimum(mean, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(low > 0, low * np.log(low / level), 0.0) + (1 - low) * np.log((1 - low) / (1 - level))
    bentkus = (1 if binary else math.e) * binom.cdf(np.ceil(n * mean - 1e-9), n, level)
    return np.asarray(np.minimum(np.minimum(np.exp(-n * entropy), bentkus), 1.0))


def misses_allowed(
    probabilities: Floats, patients: npt.NDArray[np.intp], sensitivity: float, confidence: float
) -> int | None:
    """Say how many images with a finding may be missed, those of the lowest probabilities.

    The risk is the share of a patient's images that is missed, on average over patients, each counting once. It only
    grows with the threshold, so the highest threshold at which the hypothesis "the risk is above 1 - sensitivity" is
    rejected, at it and below it, controls the risk (Bates et al. 2021, theorem 1; in the words of Angelopoulos et al.,
    "Learn then Test", 2021, a fixed sequence of tests). Patients of many images may be the harder ones: the share of
    all images that is missed on validation is not above 1 - sensitivity either.

    Args:
        probabilities: `(m,)` of the images with the finding.
        patients: `(m,)` whose they are.
        sensitivity: to be reached, in (0, 1).
        confidence: with which, in (0, 1).

    Returns:
        At most so many images may be missed; None if these are too few patients to miss even none.
    """
    level = 1 - sensitivity
    _, patient, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    people, images = len(sizes), len(patient)
    if not people:
        return None
    order = np.argsort(probabilities, kind="stable")
    by_patient = np.append(0.0, np.cumsum(1 / sizes[patient[order]])) / people
    by_image = np.arange(images + 1) / images
    shown = hoeffding_bentkus(by_patient, people, level, binary=people == images) <= 1 - confidence
    accepted = int(np.argmin(np.append(shown & (by_image <= level + 1e-12), False)))
    return accepted - 1 if accepted else None
