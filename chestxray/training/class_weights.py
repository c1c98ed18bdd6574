"""How much a positive counts in the loss."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from chestxray.findings import FINDINGS, UNLABELLED
from chestxray.params import ClassWeightingParams


def class_weights(labels: npt.NDArray[np.int8], params: ClassWeightingParams) -> dict[str, dict[str, Any]]:
    """Weights of positives: min(cap, (negatives / positives) ^ power).

    Args:
        labels: labels of the training side, N × 14, as `Dataset.truth` has them.
        params: power and cap.

    Returns:
        Per finding `n` (images that label it), `positives`, `prevalence` among them (0 without any) and `weight`;
        weight 1, with a warning, where all or none of them are positive.
    """
    rows, counts = {}, [(labels != UNLABELLED).sum(axis=0).tolist(), (labels == 1).sum(axis=0).tolist()]
    for finding, n, positives in zip(FINDINGS, *counts, strict=True):
        both = 0 < positives < n
        if not both:
            missing = "negatives" if positives else "positives"
            said = "%s has no %s among the %d training images that label it: weight 1"
            logging.getLogger(__name__).warning(said, finding, missing, n)
        weight = min(params.cap, ((n - positives) / positives) ** params.power) if both else 1.0
        prevalence = round(positives / max(n, 1), 6)
        rows[finding] = {"n": n, "positives": positives, "prevalence": prevalence, "weight": round(weight, 6)}
    return rows


def weight_array(rows: dict[str, dict[str, Any]]) -> npt.NDArray[np.float64]:
    """The weights in the order of `FINDINGS`, 14."""
    return np.array([rows[finding]["weight"] for finding in FINDINGS], np.float64)
