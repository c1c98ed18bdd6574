"""Fit Platt scaling on validation.

Weighted losses shift every logit, so that a raw sigmoid is not the chance of a finding; calibration mends that.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from chestxray.inference.platt import Platt
from chestxray.labels import Booleans, Floats, LabelMasks, check_scores, has_both_classes

MINIMUM_SLOPE = 0.01
"""Calibration never turns a ranking over: a fitted slope is at least this, in log odds per standard deviation."""


def _fit_curve(logits: Floats, positive: Booleans) -> tuple[float, float]:
    """Fit slope and intercept of one finding; both `(n,)`, both classes present."""
    positives = np.count_nonzero(positive)
    negatives = np.count_nonzero(~positive)
    targets = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    mean = logits.mean()
    deviation = logits.std()
    standard = np.zeros_like(logits)
    if deviation <= 1e-6 * abs(mean):  # constant within single precision: no spread to fit a slope to
        deviation = 1.0
    else:
        standard = (logits - mean) / deviation

    def cross_entropy(curve: Floats) -> tuple[float, Floats]:
        """Mean cross-entropy and its gradient by slope and intercept."""
        log_odds = curve[0] * standard + curve[1]
        excess = expit(log_odds) - targets
        loss = np.mean(np.logaddexp(0.0, log_odds) - targets * log_odds)
        return float(loss), np.array([np.mean(excess * standard), np.mean(excess)])

    bounds = [(MINIMUM_SLOPE, None), (None, None)]
    start = np.array([MINIMUM_SLOPE, 0.0])  # where the slope stays if the logits have no spread
    found = minimize(
        cross_entropy,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 0.0, "gtol": 1e-9, "maxiter": 1000},
    )
    slope, intercept = found.x
    return float(slope / deviation), float(intercept - slope * mean / deviation)


def fit_platt(logits: npt.ArrayLike, labels: LabelMasks) -> Platt:
    """Fit Platt scaling on validation logits, each finding by itself.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with his smoothed targets
    (N+ + 1)/(N+ + 2) and 1/(N- + 2); minimised by L-BFGS-B (Byrd, Lu, Nocedal and Zhu, SIAM Journal on Scientific
    Computing 16, 1995), which keeps the slope above its bound.

    Where validation gives no reason to trust the ranking (best slope below `MINIMUM_SLOPE`), the slope stays at that
    bound and the intercept is fitted: everyone gets nearly the prevalence, and the order of images is kept.

    Args:
        logits: `(n, k)`, finite.
        labels: of n images and k findings.

    Returns:
        The curves; slope 1 and intercept 0 for a finding that lacks positives or negatives.

    Raises:
        ValueError: wrong shapes or values.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> from chestxray.labels import label_masks
        >>> logits = generator.normal(size=(50_000, 1))
        >>> labels = label_masks(generator.random((50_000, 1)) < expit(2 * logits), ["Tuberculosis"])
        >>> float(fit_platt(logits, labels).slope[0].round(1))
        2.0
    """
    scores = check_scores(logits, "logits", labels.findings, len(labels))
    slope, intercept = np.ones(len(labels.findings)), np.zeros(len(labels.findings))
    for finding in np.flatnonzero(has_both_classes(labels)).tolist():
        rows, positive = labels.labelled_rows(finding)
        slope[finding], intercept[finding] = _fit_curve(scores[rows, finding], positive)
    return Platt(labels.findings, slope, intercept)
