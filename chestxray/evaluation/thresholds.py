"""Choose operating points on validation: the thresholds at which probabilities become decisions."""

import numpy as np
import numpy.typing as npt

from chestxray.labels import Booleans, Floats, LabelMasks, check_scores, has_both_classes

NEVER = 1.0
"""For a finding without an operating point: no probability reaches it, for calibration never gives 1."""


def wanted_sensitivity(policy: str) -> float | None:
    """Read a threshold policy.

    Args:
        policy: `f1`, `youden`, or `sensitivity@` and the sensitivity to reach, such as `sensitivity@0.9`.

    Returns:
        The sensitivity to reach, in (0, 1], or `None` for the other policies.

    Raises:
        ValueError: none of these.
    """
    if policy in ("f1", "youden"):
        return None
    name, _, wanted = policy.partition("@")
    try:
        sensitivity = float(wanted)
    except ValueError:
        sensitivity = np.nan
    if name != "sensitivity" or not 0 < sensitivity <= 1:
        raise ValueError(f"threshold policy must be f1, youden or sensitivity@0.9 (any value to 1), got {policy!r}")
    return sensitivity


def _threshold(positive: Booleans, probability: Floats, policy: str) -> float:
    """Choose the threshold of one finding; both `(n,)`, both classes present."""
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    # A cut stands below each distinct probability; above the first one nothing is positive.
    decided = np.append(0, np.flatnonzero(np.diff(ranked, append=-1.0)) + 1)
    true_positives = np.append(0, np.cumsum(positive[order]))[decided]
    false_positives = decided - true_positives
    positives = np.count_nonzero(positive)
    negatives = np.count_nonzero(~positive)
    sensitivity = wanted_sensitivity(policy)
    if sensitivity is not None:
        merit = true_positives >= sensitivity * positives
    elif policy == "f1":
        merit = 2 * true_positives / (positives + decided)
    else:  # Youden's J times both counts: whole numbers, so that equals are equal
        merit = true_positives * negatives - false_positives * positives
    cut = decided[np.argmax(merit)]  # the first of the best: fewest positive, highest specificity
    above, below = np.concatenate([[1.0], ranked, [0.0]])[cut : cut + 2]
    middle = (above + below) / 2
    return float(middle if middle > below else above)


def fit_thresholds(labels: LabelMasks, probabilities: npt.ArrayLike, policy: str) -> Floats:
    """Choose each finding's threshold on validation, exactly, over all cuts between neighbouring probabilities.

    `f1` reaches the greatest F1; `youden` the greatest sensitivity + specificity - 1 (Youden, Cancer 3, 1950);
    `sensitivity@s` is the highest threshold with a sensitivity of at least s. Among equals the one of the highest
    specificity is taken; the threshold stands midway between the neighbouring probabilities (0 and 1 at the ends, so a
    probability of exactly 1, which calibration never gives, is always positive).

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)` in 0..1.
        policy: `f1`, `youden` or `sensitivity@0.9`.

    Returns:
        `(k,)` float64 in 0..1; 1 for a finding that lacks positives or negatives, which is never positive then. Store
        them unrounded.

    Raises:
        ValueError: wrong shapes, values or policy.
    """
    wanted_sensitivity(policy)
    scores = check_scores(probabilities, "probabilities", labels.findings, len(labels), low=0, high=1)
    thresholds = np.full(len(labels.findings), NEVER)
    for finding in np.flatnonzero(has_both_classes(labels)).tolist():
        rows, positive = labels.labelled_rows(finding)
        thresholds[finding] = _threshold(positive, scores[rows, finding], policy)
    return thresholds
