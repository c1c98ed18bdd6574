"""Compute how much a positive label of each finding weighs in the loss."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from chestxray.findings import FINDINGS, UNLABELLED
from chestxray.params import ClassWeightingParams


def class_weights(labels: npt.NDArray[np.int8], params: ClassWeightingParams) -> dict[str, dict[str, Any]]:
    """Compute the weight of a positive label by finding: min(cap, (negatives / positives) ^ power).

    Args:
        labels: int8, N × 14, of the training images, as `Dataset.labels` has them.
        params: power and cap.

    Returns:
        Per finding `n` (images that label it), `positives`, `prevalence` among them (0 without any) and `weight`;
        weight 1, with a warning, where all or none of them are positive.
    """
    rows = {}
    labelled = (labels != UNLABELLED).sum(axis=0).tolist()
    positive = (labels == 1).sum(axis=0).tolist()
    for finding, n, positives in zip(FINDINGS, labelled, positive, strict=True):
        both = 0 < positives < n
        if not both:
            missing = "negatives" if positives else "positives"
            message = "%s has no %s among the %d training images that label it: weight 1"
            logging.getLogger(__name__).warning(message, finding, missing, n)
        weight = min(params.cap, ((n - positives) / positives) ** params.power) if both else 1.0
        prevalence = round(positives / max(n, 1), 6)
        rows[finding] = {"n": n, "positives": positives, "prevalence": prevalence, "weight": round(weight, 6)}
    return rows


def weight_array(rows: dict[str, dict[str, Any]]) -> npt.NDArray[np.float64]:
    """Return the weights as float64, 14, in the order of `FINDINGS`."""
    return np.array([rows[finding]["weight"] for finding in FINDINGS], np.float64)
