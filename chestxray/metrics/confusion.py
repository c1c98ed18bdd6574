"""Count right and wrong decisions: confusion matrices, F1, and the rates at the operating points."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.labels import Booleans, Floats, LabelMasks, Weights, check_decisions, has_both_classes
from chestxray.metrics.ranking import ratio

AVERAGES = ("micro", "macro", "weighted")


def f1_scores(labels: LabelMasks, decisions: Booleans, weights: Weights) -> tuple[Floats, Floats]:
    """Compute F1 of each finding `(b, k)` and of all pooled `(b,)`, under each row of `weights (b, n)`."""
    weights = weights.astype(float)
    positive = decisions & labels.labelled
    hits = weights @ (labels.present & positive)
    present_and_positive = weights @ (labels.present.astype(float) + positive)
    return ratio(2 * hits, present_and_positive), ratio(2 * hits.sum(axis=1), present_and_positive.sum(axis=1))


def confusion_matrices(labels: LabelMasks, decisions: npt.ArrayLike) -> pd.DataFrame:
    """Count images, a row a finding: `finding, tn, fp, fn, tp`, which add up to the images that label it.

    Args:
        labels: of n images and k findings.
        decisions: `(n, k)` of 0 and 1.

    Raises:
        ValueError: wrong shapes or values.

    Example:
        >>> from chestxray.labels import label_masks
        >>> labels = label_masks([[1], [0], [0]], ["Tuberculosis"])
        >>> print(*confusion_matrices(labels, [[0], [1], [1]]).iloc[0])
        Tuberculosis 0 2 1 0
    """
    return count_decisions(labels, check_decisions(decisions, "decisions", labels.findings, len(labels)))


def count_decisions(labels: LabelMasks, decisions: Booleans) -> pd.DataFrame:
    """Count as `confusion_matrices` does, from checked arrays."""
    cells = {
        "tn": labels.absent & ~decisions,
        "fp": labels.absent & decisions,
        "fn": labels.present & ~decisions,
        "tp": labels.present & decisions,
    }
    return pd.DataFrame({"finding": labels.findings, **{name: cell.sum(axis=0) for name, cell in cells.items()}})


def operating_table(labels: LabelMasks, decisions: Booleans, averaged: Booleans) -> pd.DataFrame:
    """Compute the rates of each finding, then their averages `micro`, `macro` and `weighted`.

    Args:
        labels: of n images and k findings.
        decisions: `(n, k)`.
        averaged: `(k,)` findings that macro averages are over, of those with both classes.

    Returns:
        Columns `precision`, `recall`, `specificity` and `f1`, index the findings and `AVERAGES`. A finding without both
        classes is NaN and left out of macro and weighted (by positives); micro pools every label. An average of nothing
        is NaN. So is the precision of a finding without a positive decision, which counts as 0 in averages (as in
        scikit-learn).
    """
    counts = count_decisions(labels, decisions).set_index("finding")
    counts.loc["micro"] = counts.sum()
    tn, fp, fn, tp = counts.to_numpy(dtype=float).T
    columns = {"precision": (tp, fp), "recall": (tp, fn), "specificity": (tn, fp), "f1": (2 * tp, fp + fn)}
    table = pd.DataFrame({name: ratio(a, a + b) for name, (a, b) in columns.items()}, index=counts.index)
    scored = has_both_classes(labels)
    table.loc[[name for name, both in zip(labels.findings, scored, strict=True) if not both]] = np.nan
    if not labels.labelled.any():
        table.loc["micro"] = np.nan
    table.loc["macro"] = table.loc["weighted"] = np.nan
    by_finding = table.loc[list(labels.findings)].to_numpy()
    positives = (tp + fn)[:-1]
    if scored.any():
        table.loc["weighted"] = positives[scored] @ by_finding[scored] / positives[scored].sum()
    if (scored & averaged).any():
        table.loc["macro"] = by_finding[scored & averaged].mean(axis=0)
    table.loc[counts.index[tp + fp == 0].difference(AVERAGES), "precision"] = np.nan
    return table
