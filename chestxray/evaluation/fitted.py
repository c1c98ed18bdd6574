"""Settle on validation what is settled before test is looked at: status, calibration, operating points, bands."""

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.evaluation.calibration import fit_platt
from chestxray.evaluation.operating_points import Threshold, fit_thresholds
from chestxray.evaluation.uncertain import Band, fit_bands
from chestxray.inference.operating_point import threshold_values
from chestxray.inference.platt import Platt
from chestxray.inference.status import ClassPatients, Evidence, Status, finding_status, has_decision
from chestxray.labels import label_masks, patients_by_class
from chestxray.params import EvaluateParams

BAND_ERRORS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""Of the uncertain bands in the figure of what they cost and gain."""


class Fitted(NamedTuple):
    """What is settled before test is looked at.

    Attributes:
        status: of the k findings.
        evidence: of the k findings, the patients behind it.
        platt: the calibration.
        thresholds: by operating point, k; the first one decides.
        bands: k uncertain bands.
        band_curve: those of several errors, by error.
    """

    status: tuple[Status, ...]
    evidence: tuple[Evidence, ...]
    platt: Platt
    thresholds: dict[str, tuple[Threshold, ...]]
    bands: tuple[Band, ...]
    band_curve: dict[float, tuple[Band, ...]]

    @property
    def deciding(self) -> npt.NDArray[np.float64]:
        """`(k,)` thresholds of the operating point that decides; NaN where there is none."""
        return threshold_values(next(iter(self.thresholds.values())))


def fit_on_validation(
    logits: npt.NDArray[np.float32], validation: Dataset, evidence: tuple[Evidence, ...], params: EvaluateParams
) -> Fitted:
    """Fit calibration, operating points and uncertain bands; only learned findings have the latter two.

    Args:
        logits: of the validation images, N × k.
        validation: these images.
        evidence: of the k findings, the patients of training and of validation.
        params: of the operating points, and the patients that a finding needs.
    """
    status = tuple(finding_status(each, params.min_positives) for each in evidence)
    labels = label_masks(validation.labels, validation.findings)
    platt = fit_platt(logits, labels)
    learned = labels.hide(list(itertools.compress(validation.findings, ~has_decision(status))))
    images = learned, platt.probabilities(logits), validation.patients
    thresholds = {
        name: tuple(
            cut if each == "learned" else Threshold(None, f"the finding is {each}")
            for cut, each in zip(fit_thresholds(*images, name, params.confidence), status, strict=True)
        )
        for name in params.operating_points
    }
    curve = {error: fit_bands(*images, error) for error in sorted({*BAND_ERRORS, params.uncertain_error})}
    return Fitted(status, evidence, platt, thresholds, curve[params.uncertain_error], curve)


def gather_evidence(dataset: Dataset) -> tuple[Evidence, ...]:
    """Count the patients of each class of each finding in training and validation.

    Raises:
        UserError: no finding has images with it and images without it in training.
    """
    train, validation = (count_patients(dataset.split(split)) for split in ("train", "validation"))
    evidence = tuple(Evidence(train=some, validation=others) for some, others in zip(train, validation, strict=True))
    if not any(each.train.rarer for each in evidence):
        raise UserError(
            f"none of the {len(evidence)} findings can be learned: training has no images both with and without one; "
            "give labels of both kinds"
        )
    return evidence


def count_patients(part: Dataset) -> list[ClassPatients]:
    """Count the patients of each class of each finding."""
    present, absent = patients_by_class(label_masks(part.labels, part.findings), part.patients).tolist()
    return [ClassPatients(present=some, absent=others) for some, others in zip(present, absent, strict=True)]
