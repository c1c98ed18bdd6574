"""Compute how much a positive label of each finding weighs in the loss."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import Split
from chestxray.errors import UserError
from chestxray.findings import UNLABELLED
from chestxray.params import ClassWeightingParams

SMALLEST = 1e-6
"""Weights are rounded to this, and only a finding that can't be learned has less."""


def class_weights(
    labels: npt.NDArray[np.int8], findings: Sequence[str], params: ClassWeightingParams
) -> dict[str, dict[str, Any]]:
    """Compute the weight of a positive label by finding: min(cap, (negatives / positives) ^ power).

    Args:
        labels: int8, N × k, of the training images, as `Dataset.labels` has them.
        findings: names of the k columns.
        params: power and cap.

    Returns:
        Per finding `n` (images that label it), `positives`, `prevalence` among them (0 without any) and `weight`;
        weight 0, with a warning, where all or none of them are positive: such a finding can't be learned.

    Raises:
        UserError: no finding can be learned.
    """
    rows = {}
    labelled = (labels != UNLABELLED).sum(axis=0).tolist()
    positive = (labels == 1).sum(axis=0).tolist()
    for finding, n, positives in zip(findings, labelled, positive, strict=True):
        weight = 0.0
        if 0 < positives < n:
            weight = max(SMALLEST, round(min(params.cap, ((n - positives) / positives) ** params.power), 6))
        else:
            missing = "negatives" if positives else "positives"
            message = "%s has no %s among the %d training images that label it: it is not learned"
            logging.getLogger(__name__).warning(message, finding, missing, n)
        prevalence = round(positives / max(n, 1), 6)
        rows[finding] = {"n": n, "positives": positives, "prevalence": prevalence, "weight": weight}
    if not learnable(rows):
        raise UserError(
            f"none of the {len(findings)} findings has images with it and images without it among the {len(labels)} "
            "training images: there is nothing to learn. Give more images or more labels"
        )
    return rows


def learnable(rows: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Return the findings that can be learned, by their rows of `class_weights`."""
    return tuple(finding for finding, row in rows.items() if row["weight"] > 0)


def check_ranked(dataset: Dataset, findings: Sequence[str]) -> None:
    """Check that validation and test images can rank one of the findings, so that a model can be chosen and measured.

    Args:
        dataset: all images.
        findings: those that can be learned.

    Raises:
        UserError: naming the split.
    """
    splits: tuple[Split, ...] = ("validation", "test")
    for split in splits:
        labels = dataset.studies.loc[dataset.studies["split"] == split, list(findings)]
        if not ((labels == 1).any() & (labels == 0).any()).any():
            raise UserError(
                f"none of the {len(findings)} findings that can be learned has images with it and images without it "
                f"among the {len(labels)} {split} images. Give more patients, or a greater share of them in "
                f"prepare.{split}" + (", or name images of more patients in test_list.txt" if split == "test" else "")
            )


def weight_array(rows: dict[str, dict[str, Any]], findings: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the weights of k findings as float64, k."""
    return np.array([rows[finding]["weight"] for finding in findings], np.float64)
