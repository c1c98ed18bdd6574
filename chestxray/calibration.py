"""Calibration: from a network's logits to probabilities that mean what they say.

Weighted losses shift every logit, so a raw sigmoid is not the chance of a finding. Platt scaling, fitted on validation,
mends that; the expected calibration error says by how much.

The service applies what is fitted here, therefore this file needs numpy alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from chestxray.findings import FINDINGS
from chestxray.labels import (
    Booleans,
    Floats,
    Truth,
    Weights,
    check_scores,
    check_truth,
    drawn_once,
    has_both_classes,
    scorable,
)

MINIMUM_SLOPE = 0.01
"""Calibration never turns a ranking over: a fitted slope is at least this, in log odds per standard deviation."""
BINS = 10
NEWTON_STEPS = 100


@dataclass(frozen=True, eq=False)
class Platt:
    """One logistic curve per finding: `p = sigmoid(slope * logit + intercept)`.

    Attributes:
        slope: `(14,)` float64, positive, so the order of images (AUROC) never turns over.
        intercept: `(14,)` float64, log odds.

    Raises:
        ValueError: another shape, a value that is not finite, a slope that is not positive.
    """

    slope: Floats
    intercept: Floats

    def __post_init__(self) -> None:
        """Checks the numbers: they may come from a file."""
        for name in ("slope", "intercept"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (len(FINDINGS),) or not np.isfinite(values).all():
                raise ValueError(f"Platt {name} must be {len(FINDINGS)} finite numbers, got {values.tolist()}")
            object.__setattr__(self, name, values)
        if (self.slope <= 0).any():
            raise ValueError(f"Platt slopes must be positive, got {self.slope.min()}: it would turn the ranking over")

    @classmethod
    def identity(cls) -> Self:
        """The plain sigmoid: what a logit says before calibration."""
        return cls(np.ones(len(FINDINGS)), np.zeros(len(FINDINGS)))

    def probabilities(self, logits: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Calibrates.

        Args:
            logits: `(n, 14)`, any finite value.

        Returns:
            `(n, 14)` float32, strictly between 0 and 1.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        log_odds = self.slope * check_scores(logits, "logits") + self.intercept
        exact = np.exp(-np.logaddexp(0.0, -log_odds))  # the sigmoid, exact in both tails and without overflow
        single = np.finfo(np.float32)
        return np.clip(exact.astype(np.float32), single.tiny, np.float32(1) - single.epsneg)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """The curves by finding, for JSON; `from_dict` gives the same numbers back, to the bit."""
        return {
            name: {"slope": float(slope), "intercept": float(intercept)}
            for name, slope, intercept in zip(FINDINGS, self.slope, self.intercept, strict=True)
        }

    @classmethod
    def from_dict(cls, curves: Mapping[str, Mapping[str, Any]]) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: a finding or a number is missing, unknown or out of range.
        """
        if set(curves) != set(FINDINGS):
            raise ValueError(f"calibration must name the {len(FINDINGS)} findings, got {sorted(curves)}")
        try:
            slope, intercept = ([float(curves[name][key]) for name in FINDINGS] for key in ("slope", "intercept"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"calibration needs a number as slope and intercept of each finding: {error!r}") from error
        return cls(np.array(slope), np.array(intercept))


def _minimise(design: Floats, offset: Floats, targets: Floats) -> Floats:
    """Logistic regression on soft targets by Newton steps with backtracking (Lin, Lin and Weng 2007, algorithm 1).

    Args:
        design: `(n, k)`.
        offset: `(n,)` log odds added as they are.
        targets: `(n,)` in 0..1.

    Returns:
        `(k,)` coefficients of least cross-entropy.
    """

    def loss(coefficients: Floats) -> float:
        log_odds = design @ coefficients + offset
        return float(np.mean(np.logaddexp(0.0, log_odds) - targets * log_odds))

    coefficients = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        p = np.exp(-np.logaddexp(0.0, -(design @ coefficients + offset)))
        gradient = design.T @ (p - targets) / len(p)
        hessian = design.T @ (design * (p * (1 - p))[:, None]) / len(p)
        step = np.linalg.solve(hessian + 1e-12 * np.eye(len(hessian)), gradient)
        if gradient @ step < 1e-12:  # the Newton decrement: the loss is within half of this of its minimum
            return coefficients
        fraction, before = 1.0, loss(coefficients)
        while loss(coefficients - fraction * step) > before - 1e-4 * fraction * (gradient @ step):
            fraction /= 2
            if fraction < 1e-10:  # nothing left to gain within floating point
                return coefficients
        coefficients = coefficients - fraction * step
    raise ArithmeticError(f"Platt scaling did not settle in {NEWTON_STEPS} Newton steps; look at the logits' range")


def _fit_curve(logits: Floats, positive: Booleans) -> tuple[float, float]:
    """Slope and intercept of one finding; both `(n,)`, both classes present."""
    positives, negatives = np.count_nonzero(positive), np.count_nonzero(~positive)
    targets = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    mean, deviation = logits.mean(), logits.std()
    # Constant within single precision: there is no spread to fit a slope to.
    constant_logits = deviation <= 1e-6 * abs(mean)
    deviation = 1.0 if constant_logits else deviation
    standard = np.zeros_like(logits) if constant_logits else (logits - mean) / deviation
    constant = np.ones((len(logits), 1))
    slope, intercept = _minimise(np.column_stack([standard, constant]), np.zeros(len(logits)), targets)
    if slope < MINIMUM_SLOPE:  # the loss is convex: the best allowed curve lies on the bound
        slope, (intercept,) = MINIMUM_SLOPE, _minimise(constant, MINIMUM_SLOPE * standard, targets)
    return float(slope / deviation), float(intercept - slope * mean / deviation)


def fit_platt(logits: npt.ArrayLike, truth: npt.ArrayLike) -> Platt:
    """Fits Platt scaling on validation logits, each finding by itself.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with his smoothed targets
    (N+ + 1)/(N+ + 2) and 1/(N- + 2); minimised as Lin, Lin and Weng, "A note on Platt's probabilistic outputs for
    support vector machines", Machine Learning 68, 2007, advise.

    Where validation gives no reason to trust the ranking (best slope below `MINIMUM_SLOPE`), the slope stays at that
    bound and the intercept is fitted: everyone gets nearly the prevalence, and the order of images is kept.

    Args:
        logits: `(n, 14)`, finite.
        truth: `(n, 14)` of 1, 0 and -1 (not labelled).

    Returns:
        The curves; slope 1 and intercept 0 for a finding that lacks positives or negatives.

    Raises:
        ValueError: wrong shapes or values.
    """
    labels = check_truth(truth)
    scores = check_scores(logits, "logits", images=len(labels))
    slope, intercept = np.ones(len(FINDINGS)), np.zeros(len(FINDINGS))
    for finding in np.flatnonzero(has_both_classes(labels)).tolist():
        rows, positive = labels.of(finding)
        slope[finding], intercept[finding] = _fit_curve(scores[rows, finding], positive)
    return Platt(slope, intercept)


@dataclass(frozen=True, eq=False)
class _Bins:
    """The m images that label a finding from the lowest probability up, to be cut into `BINS` bins of equal mass.

    Attributes:
        order: `(m,)` their rows, from the lowest probability up.
        ends: `(runs,)` places in that order at which runs of equal probabilities end; a run that a cut falls into is
            shared out evenly, so the result does not hang on the order of its images.
    """

    order: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]

    @classmethod
    def of(cls, probability: Floats, rows: npt.NDArray[np.intp]) -> Self:
        """Those of `rows (m,)`, by their `probability (n,)`, 0–1; equal ones stay in the order of the rows."""
        order = rows[np.argsort(probability[rows], kind="stable")]
        return cls(order, np.flatnonzero(np.diff(probability[order], append=np.inf)))

    def sums(self, values: Floats, weights: Weights) -> Floats:
        """Weighted sum of `values (n,)` in each bin, under each row of `weights (b, n)`: `(b, BINS)`."""
        if not len(self.order):
            return np.zeros((len(weights), BINS))
        ranked = np.take(weights, self.order, axis=1)
        mass = np.cumsum(ranked, axis=1, dtype=np.int32)  # along rows: five times faster than down columns
        total = np.cumsum(ranked * values[self.order], axis=1)
        if len(self.ends) < len(self.order):
            mass, total = mass[:, self.ends], total[:, self.ends]
        cuts = mass[:, -1:] * np.arange(1, BINS + 1) / BINS
        upper, row = _first_reaching(mass, cuts), np.arange(len(weights))[:, None]
        lower = np.maximum(upper - 1, 0)
        low, below = (np.where(upper > 0, array[row, lower], 0) for array in (mass, total))
        share = (cuts - low) / np.maximum(mass[row, upper] - low, 1)  # a whole number; 0 where nothing was drawn
        return np.diff(below + share * (total[row, upper] - below), axis=1, prepend=0.0)


def _first_reaching(rising: Weights, cuts: Floats) -> npt.NDArray[np.intp]:
    """First column of `rising (b, n)` that is at least each of `cuts (b, c)`, row by row, by bisection: `(b, c)`."""
    low, high = np.zeros(cuts.shape, np.intp), np.full(cuts.shape, rising.shape[1] - 1)
    row = np.arange(len(rising))[:, None]
    for _ in range((rising.shape[1] - 1).bit_length()):
        middle = (low + high) // 2
        short = rising[row, middle] < cuts
        low, high = np.where(short, middle + 1, low), np.where(short, high, middle)
    return low


def reliability(positive: npt.ArrayLike, probability: npt.ArrayLike) -> Floats:
    """Said against seen, in 10 bins of equal mass, for one finding.

    An image that a cut falls into counts in part on either side; images of the same probability share their truth, so
    the result does not hang on their order.

    Args:
        positive: `(n,)` of 0 and 1.
        probability: `(n,)` in 0..1.

    Returns:
        `(10, 2)`: mean probability and fraction of positives of each bin.
    """
    said = np.asarray(probability, np.float64)
    once, size = drawn_once(len(said)), len(said) / BINS
    bins = _Bins.of(said, np.arange(len(said)))
    return np.column_stack([bins.sums(values, once)[0] / size for values in (said, np.asarray(positive, np.float64))])


def calibration_errors(truth: Truth, probabilities: Floats) -> Callable[[Weights], Floats]:
    """Expected calibration error of each finding under weights, for a bootstrap; see `calibration_error`.

    Args:
        truth: of n images.
        probabilities: `(n, 14)`, checked.

    Returns:
        A function from weights `(b, n)` to errors `(b, 14)`, 0..1; NaN where no image that labels the finding is drawn.
    """
    bins = [_Bins.of(p, truth.of(finding)[0]) for finding, p in enumerate(probabilities.T)]
    gaps, labelled = (probabilities - truth.present).T, truth.labelled

    def errors(weights: Weights) -> Floats:
        distances = [np.abs(b.sums(gap, weights)).sum(axis=1) for b, gap in zip(bins, gaps, strict=True)]
        drawn = weights.astype(float) @ labelled
        return np.asarray(np.stack(distances, axis=-1) / np.where(drawn == 0, np.nan, drawn))

    return errors


def calibration_error(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Expected calibration error: the mean distance between what was said and what was seen, over bins.

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015, with the bins of equal mass of Nixon et al., "Measuring
    Calibration in Deep Learning", CVPR workshops 2019 (bins of equal width leave most empty at low prevalence).

    Args:
        truth: `(n, 14)` of 1, 0 and -1 (not labelled).
        probabilities: `(n, 14)` in 0..1.

    Returns:
        The error, 0..1, of each finding that has positives and negatives, and their `mean`.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    labels = check_truth(truth)
    scores = check_scores(probabilities, "probabilities", images=len(labels), low=0, high=1)
    errors = calibration_errors(labels, scores)(drawn_once(len(labels)))[0]
    by_finding = {FINDINGS[finding]: float(errors[finding]) for finding in np.flatnonzero(scorable(labels))}
    return {"mean": float(np.mean(list(by_finding.values()))), **by_finding}
