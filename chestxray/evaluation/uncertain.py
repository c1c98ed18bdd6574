"""Find the band of probabilities in which a finding is neither shown to be present nor to be absent.

Outside the band a wrong side is rare: of images with the finding at most a stated share lies below it, and of images
without it at most that share above it. Inside, a reader decides.
"""

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, LabelMasks, check_scores

Ends = tuple[float, float]
"""Lower and upper end, in 0..1."""
Band = Ends | None
"""None if validation has too few patients of a class."""


def fit_bands(
    labels: LabelMasks, probabilities: npt.ArrayLike, patients: npt.ArrayLike, error: float
) -> tuple[Band, ...]:
    """Fit each finding's band on validation, by class-conditional conformal prediction.

    Source: Vovk, "Conditional Validity of Inductive Conformal Predictors", ACML 2012; with patients of several images
    as in Dunn, Wasserman and Ramdas, "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models", Journal of
    the American Statistical Association 118, 2023 (pooled distribution: every patient counts once). An image of a
    patient whom the model has not seen then lies on the wrong side with a probability of about `error` at most.

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)` in 0..1.
        patients: `(n,)` ids.
        error: share of images of either class that may lie on the wrong side, in (0, 0.5).

    Returns:
        k bands; one whose ends are equal has nothing uncertain.
    """
    scores = check_scores(probabilities, "probabilities", labels.findings, len(labels), low=0, high=1)
    people = np.unique(np.asarray(patients), return_inverse=True)[1]
    bands: list[Band] = []
    for finding in range(len(labels.findings)):
        present, absent = labels.present[:, finding], labels.absent[:, finding]
        low = _end(scores[present, finding], people[present], error)
        high = _end(-scores[absent, finding], people[absent], error)
        if low is None or high is None:
            bands.append(None)
        elif low > -high:  # both classes are told apart better than asked: no probability is of neither
            bands.append(((low - high) / 2, (low - high) / 2))
        else:
            bands.append((low, -high))
    return tuple(bands)


def _end(scores: Floats, patients: npt.NDArray[np.intp], error: float) -> float | None:
    """Return the highest value below which at most `error` of the patients lie, a new one counted among them."""
    if not len(scores):
        return None
    _, patient, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    # The new patient may lie below all.
    below = (1 + np.append(0.0, np.cumsum(1 / sizes[patient[order]]))[:-1]) / (len(sizes) + 1)
    reached = np.flatnonzero(below <= error + 1e-12)
    return float(scores[order[reached[-1]]]) if len(reached) else None
