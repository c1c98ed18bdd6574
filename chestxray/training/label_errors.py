"""Find the training images whose labels the linear head contradicts most, by confident learning.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
Artificial Intelligence Research 70, 2021. Each finding is a problem of two classes, and each image is judged by a fit
that has not seen its patient. Nothing is relabelled. See docs/decisions/label-errors.md.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_fold
from chestxray.labels import Booleans, Floats, LabelMasks, label_masks, patients_by_class
from chestxray.metrics.interval import Cases, auroc_interval
from chestxray.metrics.jackknife import jackknife
from chestxray.metrics.ranking import DECIMALS, place_within_folds, rank_findings, ranking_scores

MOST_ROWS = 50
"""Of either label of a finding: what a person can look at again."""
CHANCE = 0.5
"""AUROC of a ranking that knows nothing."""
COLUMNS = ("rank", "finding", "batch", "image", "patient", "label", "probability", "margin", "synthetic")
COLUMNS_BY_FINDING = (
    "finding", "n", "positives", "auroc", "ci_low", "ci_high", "contradicted_present", "contradicted_absent", "listed",
    "left_out",
)  # fmt: skip


class LabelErrors(NamedTuple):
    """What the head says of the labels that it was trained on.

    Attributes:
        listed: a row an image and finding whose label is contradicted, the worst first: columns `COLUMNS`.
            `probability` is that of label 1; `margin` as in `Contradiction`.
        by_finding: a row a finding: columns `COLUMNS_BY_FINDING`. The AUROC is that of the held-out images, with its
            95 % interval; `contradicted_present` and `contradicted_absent` count labels of 1 and of 0, listed or not;
            `left_out` says why a finding has no such numbers.
    """

    listed: pd.DataFrame
    by_finding: pd.DataFrame


class Contradiction(NamedTuple):
    """How the labels of a finding stand against a model that has not seen them.

    Attributes:
        contradicted: `(m,)` whether the model is surely of the other class: the confident joint off its diagonal.
        margin: `(m,)` log odds of the label, counted from the middle between those at which an image is surely of the
            one and of the other class: the lower, the less the label is believed.
    """

    contradicted: Booleans
    margin: Floats


def contradict(odds: Floats, present: Booleans) -> Contradiction:
    """Say which labels of a finding a model contradicts, and how much.

    An image is surely of a class if the model gives that class at least the probability that it gives on average to the
    images labelled so; of both, the likelier one counts.

    Args:
        odds: `(m,)` log odds of label 1, by a model that has not seen the image.
        present: `(m,)` whether the label is 1; both kinds are there.

    Example:
        >>> odds = np.array([2.0, 1.5, -2.0, 3.0, -2.5, -1.5])
        >>> found = contradict(odds, np.array([True, True, True, False, False, False]))
        >>> np.flatnonzero(found.contradicted).tolist(), found.margin.argsort()[:2].tolist()
        ([2, 3], [3, 2])
    """
    chance = np.column_stack([expit(-odds), expit(odds)])
    threshold = np.array([chance[~present, 0].mean(), chance[present, 1].mean()])
    sure = chance >= threshold
    likelier = np.where(sure, chance, -1).argmax(axis=1)
    middle = (logit(threshold[1]) - logit(threshold[0])) / 2
    return Contradiction(sure.any(axis=1) & (likelier != present), np.where(present, 1, -1) * (odds - middle))


def find_label_errors(train: Dataset, held_out: pd.DataFrame, folds: int, min_positives: int) -> LabelErrors:
    """List the labels that the head contradicts, of the findings of which it is shown to know something.

    Of either label of a finding at most `MOST_ROWS` are listed, those with the least margin. An image without a label
    has none that could be wrong.

    Args:
        train: N training images.
        held_out: N log odds, each by a fit that left the image's patient out; a column a finding that was fitted.
        folds: how many there were, to which a hash deals the patients.
        min_positives: patients of each class that a finding needs.
    """
    labels = label_masks(train.labels, train.findings)
    rarer = patients_by_class(labels, train.patients).min(axis=0)
    fold = np.array([patient_fold(patient, folds) for patient in train.patients])
    listed = []
    rows = []
    for place, finding in enumerate(train.findings):
        images, present = labels.labelled_rows(place)
        row: dict[str, object] = {"finding": finding, "n": len(images), "positives": int(present.sum())}
        if rarer[place] < min_positives:
            row["left_out"] = f"fewer than {min_positives} patients with it or labelled without it"
        elif finding not in held_out:
            row["left_out"] = "starts from a registered version: no folds"
        else:
            odds = held_out[finding].to_numpy(np.float64)[images]
            judged, table = _judge(finding, train.studies.iloc[images], present, odds, fold[images])
            row |= judged
            listed.append(table)
        rows.append(row)
    whole = dict.fromkeys(("contradicted_present", "contradicted_absent", "listed"), "Int64")
    by_finding = pd.DataFrame(rows, columns=list(COLUMNS_BY_FINDING)).astype(whole)
    return LabelErrors(_rank(listed), by_finding)


def _judge(
    finding: str, studies: pd.DataFrame, present: Booleans, odds: Floats, fold: npt.NDArray[np.intp]
) -> tuple[dict[str, object], pd.DataFrame]:
    """Return what is said of a finding, and the rows of its labels; none if its images are not shown to be ranked."""
    area, low, high = _area(finding, present, place_within_folds(odds, present, fold), studies["patient"])
    row: dict[str, object] = {"auroc": area, "ci_low": low, "ci_high": high}
    found = contradict(odds, present)
    worst = _worst(found, present) if low > CHANCE else np.empty(0, np.intp)
    table = studies.iloc[worst][["batch", "image", "patient", "synthetic"]].assign(
        finding=finding,
        label=present[worst].astype(int),
        probability=expit(odds[worst]).round(DECIMALS),
        margin=found.margin[worst].round(DECIMALS),
    )
    if not low > CHANCE:
        return row | {"left_out": "not shown to be ranked better than by chance"}, table
    counts = {
        "contradicted_present": int(found.contradicted[present].sum()),
        "contradicted_absent": int(found.contradicted[~present].sum()),
    }
    return row | counts | {"listed": len(table)}, table


def _area(finding: str, present: Booleans, scores: Floats, patients: "pd.Series[str]") -> tuple[float, float, float]:
    """Compute the AUROC of a finding, and its 95 % interval for other patients."""
    labels = LabelMasks((finding,), present[:, None], ~present[:, None])
    rankings = rank_findings(labels, scores[:, None])
    spread = jackknife(lambda weights: {"auroc": ranking_scores(rankings, weights)[0]}, patients)["auroc"]
    ends = auroc_interval(spread, *(Cases.count(cases, patients) for cases in (labels.present, labels.absent)))
    area, low, high = (round(float(each[0]), DECIMALS) for each in (spread.value, *ends))
    return area, low, high


def _worst(found: Contradiction, present: Booleans) -> npt.NDArray[np.intp]:
    """Choose the labels of a finding to be listed."""
    order = found.margin.argsort(kind="stable")
    order = order[found.contradicted[order]]
    return np.concatenate([order[present[order]][:MOST_ROWS], order[~present[order]][:MOST_ROWS]])


def _rank(listed: list[pd.DataFrame]) -> pd.DataFrame:
    """Put the rows of all findings in one order, the worst first; equal ones as they come."""
    if not listed:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.concat(listed).sort_values("margin", kind="stable", ignore_index=True)
    return table.assign(rank=table.index + 1)[list(COLUMNS)]
