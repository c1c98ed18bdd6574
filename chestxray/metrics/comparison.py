"""Compare two models on the same images: how far they differ, and how far that would vary with other patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, LabelMasks, Weights, check_scorable, check_scores, patients_by_class
from chestxray.metrics.interval import student
from chestxray.metrics.jackknife import Spread, check_patients, jackknife, leave_out
from chestxray.metrics.proportion import Estimate
from chestxray.metrics.ranking import mean_over_findings, rank_findings, ranking_scores
from chestxray.metrics.table import COMPARED, Metric, Predictions, Sample


@dataclass(frozen=True, eq=False)
class Comparison:
    """Metrics of two models on k findings, NaN where a finding lacks a class.

    Attributes:
        findings: their names.
        champion: metric → `(k,)`.
        challenger: metric → `(k,)`.
        without: metric → `(g, k)`, challenger minus champion on the images without a patient, of each in turn.
        positives: `(k,)` images with each finding.
        rarer_patients: `(k,)` patients with it, or patients with an image that is labelled without it, if these are
            fewer.
        images: how many.
        patients: how many.
    """

    findings: tuple[str, ...]
    champion: dict[str, Floats]
    challenger: dict[str, Floats]
    without: dict[str, Floats]
    positives: npt.NDArray[np.intp]
    rarer_patients: npt.NDArray[np.intp]
    images: int
    patients: int


def compare(
    labels: LabelMasks,
    champion: Predictions,
    challenger: Predictions,
    patients: npt.ArrayLike,
    *,
    metrics: Sequence[Metric] = COMPARED,
) -> Comparison:
    """Compare two models by a jackknife over patients, on the findings that the labels are of.

    Args:
        labels: of n images and findings that both models predict.
        champion: predictions of the model in use.
        challenger: those of the model that would replace it, for the same images in the same order.
        patients: `(n,)` ids.
        metrics: some of those by finding; a simulation takes few, which is several times faster.

    Raises:
        ValueError: wrong shapes or values, a finding that a model does not predict, fewer than 2 patients, or no
            finding with both classes.
    """
    people = check_patients(patients, len(labels))
    check_scorable(labels)
    chosen = tuple(metrics)
    old = Sample(labels, champion, "champion")
    new = Sample(labels, challenger, "challenger")

    def both(weights: Weights) -> dict[str, Floats]:
        champions = {f"champion {name}": values for name, values in old.scores(chosen, weights).items()}
        return champions | {f"challenger {name}": values for name, values in new.scores(chosen, weights).items()}

    point, without = leave_out(both, people)
    names = [metric.name for metric in chosen]
    return Comparison(
        findings=labels.findings,
        champion={name: point[f"champion {name}"] for name in names},
        challenger={name: point[f"challenger {name}"] for name in names},
        without={name: without[f"challenger {name}"] - without[f"champion {name}"] for name in names},
        positives=labels.present.sum(axis=0),
        rarer_patients=patients_by_class(labels, people).min(axis=0),
        images=len(labels),
        patients=len(np.unique(people)),
    )


def compare_mean_auroc(
    labels: LabelMasks, scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, patients: npt.ArrayLike
) -> Estimate:
    """Compare two models: mean AUROC of a minus that of b, over findings with both classes, and its 95 % interval.

    The arguments and errors are those of `mean_auroc_gain`.
    """
    found = mean_auroc_gain(labels, scores_a, scores_b, patients)
    reach = float(student(found.freedom) * found.error)
    return Estimate(float(found.value), float(found.value) - reach, float(found.value) + reach)


def mean_auroc_gain(
    labels: LabelMasks, scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, patients: npt.ArrayLike
) -> Spread:
    """Compute the mean AUROC of a minus that of b, over findings with both classes, and its spread over patients.

    Args:
        labels: of n images and k findings.
        scores_a: `(n, k)`, finite.
        scores_b: `(n, k)`, finite.
        patients: `(n,)` ids.

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.
    """
    people = check_patients(patients, len(labels))
    check_scorable(labels)
    rankings_a = rank_findings(labels, check_scores(scores_a, "scores_a", labels.findings, len(labels)))
    rankings_b = rank_findings(labels, check_scores(scores_b, "scores_b", labels.findings, len(labels)))

    def difference(weights: Weights) -> dict[str, Floats]:
        a, b = (mean_over_findings(ranking_scores(rankings, weights)[0]) for rankings in (rankings_a, rankings_b))
        return {"mean_auroc": a - b}

    return jackknife(difference, people)["mean_auroc"]
