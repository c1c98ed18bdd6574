"""Compare two models on the same images: how far they differ, and how sure that is, by resampling whole patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, LabelMasks, Weights, check_scorable, patients_by_class
from chestxray.metrics.bootstrap import check_patients, resample
from chestxray.metrics.table import BY_FINDING, Metric, Predictions, Sample


@dataclass(frozen=True, eq=False)
class Comparison:
    """Metrics of two models on k findings, NaN where a finding lacks a class.

    Attributes:
        findings: their names.
        champion: metric → `(k,)`.
        challenger: metric → `(k,)`.
        drawn: metric → `(resamples, k)`, challenger minus champion on the same resampled patients.
        positives: `(k,)` images with each finding.
        rarer_patients: `(k,)` patients with it, or patients with an image that is labelled without it, if these are
            fewer.
        images: how many.
        patients: how many.
    """

    findings: tuple[str, ...]
    champion: dict[str, Floats]
    challenger: dict[str, Floats]
    drawn: dict[str, Floats]
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
    resamples: int,
    seed: int,
    metrics: Sequence[Metric] = BY_FINDING,
) -> Comparison:
    """Compare two models by a paired bootstrap over patients, on the findings that the labels are of.

    Args:
        labels: of n images and findings that both models predict.
        champion: predictions of the model in use.
        challenger: those of the model that would replace it, for the same images in the same order.
        patients: `(n,)` ids.
        resamples: of patients.
        seed: of the resampling.
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

    point, drawn = resample(both, people, resamples, seed)
    names = [metric.name for metric in chosen]
    return Comparison(
        findings=labels.findings,
        champion={name: point[f"champion {name}"] for name in names},
        challenger={name: point[f"challenger {name}"] for name in names},
        drawn={name: drawn[f"challenger {name}"] - drawn[f"champion {name}"] for name in names},
        positives=labels.present.sum(axis=0),
        rarer_patients=patients_by_class(labels, people).min(axis=0),
        images=len(labels),
        patients=len(np.unique(people)),
    )
