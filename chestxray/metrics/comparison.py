"""Two models on the same images: how far they differ, and how sure that is, by resampling whole patients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, Labels, Weights, check_decisions, check_labels, check_scores, scorable
from chestxray.metrics.bootstrap import check_patients, resample
from chestxray.metrics.calibration_error import calibration_errors
from chestxray.metrics.classification import f1_scores
from chestxray.metrics.ranking import rank_findings, ranking_scores

RANKING = ("auroc", "average_precision")
METRICS = (*RANKING, "f1", "calibration_error")


@dataclass(frozen=True, eq=False)
class Scores:
    """What a model says of n images: `probabilities (n, 14)` in 0..1 and `decisions (n, 14)` of 0 and 1."""

    probabilities: npt.ArrayLike
    decisions: npt.ArrayLike


@dataclass(frozen=True, eq=False)
class Comparison:
    """Each of `METRICS` (or of `RANKING`) by finding, NaN where a finding lacks a class.

    Attributes:
        champion, challenger: name → `(14,)`.
        drawn: name → `(resamples, 14)`, challenger minus champion on the same resampled patients.
        positives: `(14,)` images with each finding.
        rarer_patients: `(14,)` patients with it, or patients with an image that is labelled without it, if these are
            fewer.
        images, patients: how many.
    """

    champion: dict[str, Floats]
    challenger: dict[str, Floats]
    drawn: dict[str, Floats]
    positives: npt.NDArray[np.intp]
    rarer_patients: npt.NDArray[np.intp]
    images: int
    patients: int


def _statistics(
    checked: Labels, scores: Scores, name: str, ranking_only: bool
) -> Callable[[Weights], dict[str, Floats]]:
    n = len(checked)
    probabilities = check_scores(scores.probabilities, f"{name} probabilities", images=n, low=0, high=1)
    decisions = check_decisions(scores.decisions, f"{name} decisions", images=n)
    rankings, errors = rank_findings(checked, probabilities), calibration_errors(checked, probabilities)

    def statistics(weights: Weights) -> dict[str, Floats]:
        """Each metric by finding, `(b, 14)`, a row per row of `weights (b, n)`."""
        area, precision = ranking_scores(rankings, weights)
        if ranking_only:
            return dict(zip(RANKING, (area, precision), strict=True))
        f1, error = f1_scores(checked, decisions, weights)[0], errors(weights)
        known = np.isfinite(area)
        values = (area, precision, np.where(known, f1, np.nan), np.where(known, error, np.nan))
        return dict(zip(METRICS, values, strict=True))

    return statistics


def compare(
    labels: npt.ArrayLike,
    champion: Scores,
    challenger: Scores,
    patients: npt.ArrayLike,
    *,
    resamples: int,
    seed: int,
    ranking_only: bool = False,
) -> Comparison:
    """Compares two models by a paired bootstrap over patients.

    Args:
        labels: `(n, 14)` of 1, 0 and -1 (not labelled).
        champion: the model in use.
        challenger: the model that would replace it, on the same images in the same order.
        patients: `(n,)` ids.
        resamples: of patients.
        seed: of the resampling.
        ranking_only: for simulations: `RANKING` alone, which decides and is several times faster.

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.
    """
    checked = check_labels(labels)
    people = check_patients(patients, len(checked))
    scorable(checked)
    names = RANKING if ranking_only else METRICS
    old = _statistics(checked, champion, "champion", ranking_only)
    new = _statistics(checked, challenger, "challenger", ranking_only)

    def both(weights: Weights) -> dict[str, Floats]:
        a, b = old(weights), new(weights)
        return {f"old {name}": a[name] for name in names} | {f"new {name}": b[name] for name in names}

    point, drawn = resample(both, people, resamples, seed)
    return Comparison(
        champion={name: point[f"old {name}"] for name in names},
        challenger={name: point[f"new {name}"] for name in names},
        drawn={name: drawn[f"new {name}"] - drawn[f"old {name}"] for name in names},
        positives=checked.present.sum(axis=0),
        rarer_patients=np.array(
            [
                min(len(np.unique(people[part])) for part in (present, labelled & ~present))
                for present, labelled in zip(checked.present.T, checked.labelled.T, strict=True)
            ]
        ),
        images=len(checked),
        patients=len(np.unique(people)),
    )
