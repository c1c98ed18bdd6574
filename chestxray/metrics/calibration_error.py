"""Measure how far probabilities are from the frequencies that they promise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, LabelMasks, Weights, check_scorable, check_scores, counted_once

BINS = 10


@dataclass(frozen=True, eq=False)
class _Bins:
    """Hold the m images that label a finding, from the lowest probability up, to be cut into `BINS` bins of equal mass.

    Attributes:
        order: `(m,)` their rows, from the lowest probability up.
        ends: `(runs,)` places in that order at which runs of equal probabilities end; a run that a cut falls into is
            shared out evenly, so the result does not hang on the order of its images.
    """

    order: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]

    @classmethod
    def sort(cls, probability: Floats, rows: npt.NDArray[np.intp]) -> Self:
        """Sort `rows (m,)` by their `probability (n,)`, 0–1; equal ones stay in the order of the rows."""
        order = rows[np.argsort(probability[rows], kind="stable")]
        return cls(order, np.flatnonzero(np.diff(probability[order], append=np.inf)))

    def sums(self, values: Floats, weights: Weights) -> Floats:
        """Add up the weighted `values (n,)` in each bin, under each row of `weights (b, n)`: `(b, BINS)`."""
        if not len(self.order):
            return np.zeros((len(weights), BINS))
        ranked = np.take(weights, self.order, axis=1)
        mass = np.cumsum(ranked, axis=1, dtype=np.int32)  # along rows: five times faster than down columns
        total = np.cumsum(ranked * values[self.order], axis=1)
        if len(self.ends) < len(self.order):
            mass = mass[:, self.ends]
            total = total[:, self.ends]
        row = np.arange(len(weights))[:, None]
        tenths = mass[:, -1:] * np.arange(1, BINS + 1)
        first_whole = -(-tenths // BINS)  # masses are whole numbers, so a cut is reached where the next whole one is
        upper = np.stack([np.searchsorted(*pair) for pair in zip(mass, first_whole, strict=True)])
        lower = np.maximum(upper - 1, 0)
        low, below = (np.where(upper > 0, array[row, lower], 0) for array in (mass, total))
        share = (tenths / BINS - low) / np.maximum(mass[row, upper] - low, 1)  # a whole number; 0 where nothing counts
        return np.diff(below + share * (total[row, upper] - below), axis=1, prepend=0.0)


def reliability(positive: npt.ArrayLike, probability: npt.ArrayLike) -> Floats:
    """Compare mean probability and fraction of positives in 10 bins of equal mass, for one finding.

    An image that a cut falls into counts in part on either side; images of the same probability share their truth, so
    the result does not hang on their order.

    Args:
        positive: `(n,)` of 0 and 1.
        probability: `(n,)` in 0..1.

    Returns:
        `(10, 2)`: mean probability and fraction of positives of each bin.
    """
    predicted = np.asarray(probability, np.float64)
    observed = np.asarray(positive, np.float64)
    once = counted_once(len(predicted))
    size = len(predicted) / BINS
    bins = _Bins.sort(predicted, np.arange(len(predicted)))
    return np.column_stack([bins.sums(values, once)[0] / size for values in (predicted, observed)])


def calibration_errors(labels: LabelMasks, probabilities: Floats) -> Callable[[Weights], Floats]:
    """Prepare the expected calibration error of each finding as a function of weights; see `calibration_error`.

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)`, checked.

    Returns:
        A function from weights `(b, n)` to errors `(b, k)`, 0..1; NaN where no image that labels the finding counts.
    """
    bins = [_Bins.sort(p, labels.labelled_rows(finding)[0]) for finding, p in enumerate(probabilities.T)]
    gaps = (probabilities - labels.present).T
    labelled = labels.labelled

    def errors(weights: Weights) -> Floats:
        distances = [np.abs(b.sums(gap, weights)).sum(axis=1) for b, gap in zip(bins, gaps, strict=True)]
        counted = weights.astype(float) @ labelled
        return np.asarray(np.stack(distances, axis=-1) / np.where(counted == 0, np.nan, counted))

    return errors


def calibration_error(labels: LabelMasks, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Compute the expected calibration error: the mean distance of probability and frequency over bins.

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015, with the bins of equal mass of Nixon et al., "Measuring
    Calibration in Deep Learning", CVPR workshops 2019 (bins of equal width leave most empty at low prevalence).

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)` in 0..1.

    Returns:
        The error, 0..1, of each finding that has positives and negatives, and their `mean`.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.

    Example:
        >>> from chestxray.labels import label_masks
        >>> labels = label_masks([[1], [1], *[[0]] * 8], ["Tuberculosis"])
        >>> round(calibration_error(labels, np.full((10, 1), 0.2))["Tuberculosis"], 6)
        0.0
    """
    scores = check_scores(probabilities, "probabilities", labels.findings, len(labels), low=0, high=1)
    errors = calibration_errors(labels, scores)(counted_once(len(labels)))[0]
    scored = np.flatnonzero(check_scorable(labels))
    by_finding = {labels.findings[finding]: float(errors[finding]) for finding in scored}
    return {"mean": float(np.mean(list(by_finding.values()))), **by_finding}
