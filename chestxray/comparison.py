"""Two models on the same images: how far they differ, and how sure that is, by resampling whole patients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.bootstrap import check_patients, resample
from chestxray.calibration import calibration_errors
from chestxray.labels import Booleans, Floats, Weights, check_labels, check_scores, scorable
from chestxray.metrics import f1_scores
from chestxray.ranking import rank_findings, ranking_scores

METRICS = ("auroc", "average_precision", "f1", "calibration_error")


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model says of n images: `probabilities (n, 14)` in 0..1 and `decisions (n, 14)` of 0 and 1."""

    probabilities: npt.ArrayLike
    decisions: npt.ArrayLike


@dataclass(frozen=True, eq=False)
class Comparison:
    """Each of `METRICS` by finding, NaN where a finding lacks a class.

    Attributes:
        champion, challenger: name → `(14,)`.
        drawn: name → `(resamples, 14)`, challenger minus champion on the same resampled patients.
        positives, positive_patients: `(14,)` images and patients with each finding.
        images, patients: how many.
    """

    champion: dict[str, Floats]
    challenger: dict[str, Floats]
    drawn: dict[str, Floats]
    positives: npt.NDArray[np.intp]
    positive_patients: npt.NDArray[np.intp]
    images: int
    patients: int


def _statistics(labels: Booleans, scores: Scores, name: str) -> Callable[[Weights], dict[str, Floats]]:
    n = len(labels)
    probabilities = check_scores(scores.probabilities, f"{name} probabilities", images=n, low=0, high=1)
    decisions = check_labels(scores.decisions, f"{name} decisions", images=n)
    rankings, errors = rank_findings(labels, probabilities), calibration_errors(labels, probabilities)

    def statistics(weights: Weights) -> dict[str, Floats]:
        area, precision = ranking_scores(rankings, weights)
        f1, error = f1_scores(labels, decisions, weights)[0], errors(weights)
        known = np.isfinite(area)
        values = (area, precision, np.where(known, f1, np.nan), np.where(known, error, np.nan))
        return dict(zip(METRICS, values, strict=True))

    return statistics


def compare(
    truth: npt.ArrayLike, champion: Scores, challenger: Scores, patients: npt.ArrayLike, *, resamples: int, seed: int
) -> Comparison:
    """Compares two models by a paired bootstrap over patients.

    Args:
        truth: `(n, 14)` of 0 and 1.
        champion: the model in use.
        challenger: the model that would replace it, on the same images in the same order.
        patients: `(n,)` ids.
        resamples: of patients.
        seed: of the resampling.

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.
    """
    labels = check_labels(truth)
    people = check_patients(patients, len(labels))
    scorable(labels)
    old, new = _statistics(labels, champion, "champion"), _statistics(labels, challenger, "challenger")

    def both(weights: Weights) -> dict[str, Floats]:
        a, b = old(weights), new(weights)
        return {f"old {name}": a[name] for name in METRICS} | {f"new {name}": b[name] for name in METRICS}

    point, drawn = resample(both, people, resamples, seed)
    return Comparison(
        champion={name: point[f"old {name}"] for name in METRICS},
        challenger={name: point[f"new {name}"] for name in METRICS},
        drawn={name: drawn[f"new {name}"] - drawn[f"old {name}"] for name in METRICS},
        positives=labels.sum(axis=0),
        positive_patients=np.array([len(np.unique(people[positive])) for positive in labels.T]),
        images=len(labels),
        patients=len(np.unique(people)),
    )
