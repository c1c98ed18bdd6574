"""How much a positive counts in the loss."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from chestxray.findings import FINDINGS
from chestxray.params import ClassWeightingParams


def class_weights(truth: npt.NDArray[np.int8], params: ClassWeightingParams) -> dict[str, dict[str, Any]]:
    """Weights of positives: min(cap, (negatives / positives) ^ power).

    Args:
        truth: labels of the training side, N × 14.
        params: power and cap.

    Returns:
        Per finding `n`, `positives`, `prevalence` and `weight`; weight 1, with a warning, where all or
        none are positive.
    """
    rows, n = {}, len(truth)
    for finding, positives in zip(FINDINGS, truth.sum(axis=0, dtype=int).tolist(), strict=True):
        both = 0 < positives < n
        if not both:
            missing = "negatives" if positives else "positives"
            logging.getLogger(__name__).warning("%s has no %s among %d training images: weight 1", finding, missing, n)
        weight = min(params.cap, ((n - positives) / positives) ** params.power) if both else 1.0
        prevalence = round(positives / n, 6)
        rows[finding] = {"n": n, "positives": positives, "prevalence": prevalence, "weight": round(weight, 6)}
    return rows


def weight_array(rows: dict[str, dict[str, Any]]) -> npt.NDArray[np.float64]:
    """The weights in the order of `FINDINGS`, 14."""
    return np.array([rows[finding]["weight"] for finding in FINDINGS], np.float64)
