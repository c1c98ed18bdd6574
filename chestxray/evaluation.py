"""From logits to honest numbers: calibration and operating points from validation, metrics from test."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.bundle import Network
from chestxray.calibration import Platt, calibration_error, fit_platt
from chestxray.dataset import Dataset
from chestxray.findings import FINDINGS
from chestxray.metrics import evaluate
from chestxray.operating_points import decide, fit_thresholds
from chestxray.params import EvaluateParams
from chestxray.progress import progress

IMAGES_AT_ONCE = 32


@dataclass(frozen=True)
class Evaluation:
    """What evaluating a model on a data set gives.

    Attributes:
        platt: fitted on validation.
        thresholds: on calibrated probabilities, fitted on validation, 14.
        metrics: nested finite numbers: `test.*`.
        uncalibrated, probabilities: of the test images, N × 14, before and after calibration.
        decisions: bool, N × 14.
        test: the test images.
    """

    platt: Platt
    thresholds: npt.NDArray[np.float64]
    metrics: dict[str, Any]
    uncalibrated: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    decisions: npt.NDArray[np.bool_]
    test: Dataset

    def predictions(self) -> pd.DataFrame:
        """A row a test image: batch, image, patient, then truth, probability and decision of each finding."""
        columns = {"batch": self.test.studies["batch"], "image": self.test.studies["image"]}
        columns["patient"] = self.test.studies["patient"]
        for place, finding in enumerate(FINDINGS):
            columns[f"{finding}_truth"] = self.test.truth[:, place]
            columns[f"{finding}_probability"] = self.probabilities[:, place]
            columns[f"{finding}_decision"] = self.decisions[:, place].astype(np.int8)
        return pd.DataFrame(columns)


def evaluate_model(network: Network, dataset: Dataset, params: EvaluateParams) -> Evaluation:
    """Fits calibration and operating points on validation, then looks at test, once.

    Raises:
        ValueError: validation or test holds no finding with both classes.
    """
    validation, test = dataset.side("validation"), dataset.side("test")
    logits = _logits(network, validation, "validation")
    platt = fit_platt(logits, validation.truth)
    thresholds = fit_thresholds(validation.truth, platt.probabilities(logits), params.threshold_policy)
    logits = _logits(network, test, "test")
    uncalibrated, probabilities = Platt.identity().probabilities(logits), platt.probabilities(logits)
    decisions = decide(probabilities, thresholds)
    metrics = evaluate(
        test.truth, probabilities, decisions, test.patients, resamples=params.resamples, seed=params.seed
    )
    metrics["calibration_error_before"] = calibration_error(test.truth, uncalibrated)
    metrics["calibration_error"] = calibration_error(test.truth, probabilities)
    return Evaluation(platt, thresholds, {"test": metrics}, uncalibrated, probabilities, decisions, test)


def data_digest(dataset: Dataset) -> str:
    """SHA-256 of the labels and decoded pixels of the images, in their order."""
    rows = dataset.studies["content_hash"] + dataset.studies[list(FINDINGS)].astype(str).agg("".join, axis=1)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _logits(network: Network, images: Dataset, what: str) -> npt.NDArray[np.float32]:
    total = -(-len(images.studies) // IMAGES_AT_ONCE)
    unit = f"batch of {IMAGES_AT_ONCE} image"
    return network.logits_of(progress(images.chunks(IMAGES_AT_ONCE), f"predicting {what}", total, unit))
