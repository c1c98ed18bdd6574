"""Measure how well scores rank the images of each finding: AUROC, average precision, and their curves.

Everything takes weights, so leaving a patient out is a row of weights, 0 for the patient's images, and all such rows
are scored by a few array operations, through the same code as the figures themselves.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.labels import Booleans, Floats, LabelMasks, Weights, check_scorable, check_scores, counted_once

CURVE_POINTS = 200
DECIMALS = 6
"""To which the numbers of reports are rounded."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The images that label a finding, from the highest score down; a tie group with positives in it is a step of its
    curves.

    Attributes:
        images: m, of which some are positive.
        ranked: `(2, steps)` how many images stand before and up to the end of each step.
        found: `(2, steps)` how many positives do.
        place: `(n,)` of each of all images, 2 s if it stands before step s and after the one before, 2 s + 1 if it is
            in step s; 2 steps if it is below all, 2 steps + 1 if it does not label the finding.
        positive: `(n,)` which of all images have it.
    """

    images: int
    ranked: npt.NDArray[np.intp]
    found: npt.NDArray[np.intp]
    place: npt.NDArray[np.intp]
    positive: Booleans


def _rank_finding(rows: npt.NDArray[np.intp], positive: Booleans, scores: Floats, images: int) -> Ranking:
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf)) + 1
    ranked = np.stack([np.append(0, ends)[:-1], ends])
    found = np.append(0, np.cumsum(positive[order]))[ranked]
    step = found[1] > found[0]
    edges = ranked[:, step].T.ravel()
    place = np.full(images, len(edges) + 1)
    place[rows[order]] = np.searchsorted(edges, np.arange(len(rows)), side="right")
    has = np.zeros(images, bool)
    has[rows[positive]] = True
    return Ranking(len(rows), ranked[:, step], found[:, step], place, has)


def rank_findings(labels: LabelMasks, scores: Floats) -> list[Ranking]:
    """Rank the images that label each finding: k rankings, from checked `scores (n, k)`."""
    known = (labels.labelled_rows(finding) for finding in range(len(labels.findings)))
    return [
        _rank_finding(rows, positive, scores[rows, place], len(labels)) for place, (rows, positive) in enumerate(known)
    ]


class _LeftOut(NamedTuple):
    """What b weightings take away from counting each image once: a few images each, so only these are listed.

    Attributes:
        samples: b.
        sample: `(z,)` which of them.
        image: `(z,)` which row of the images.
        weight: `(z,)` how much is taken away.
    """

    samples: int
    sample: npt.NDArray[np.intp]
    image: npt.NDArray[np.intp]
    weight: Weights

    @classmethod
    def of(cls, weights: Weights) -> Self:
        """List what `weights (b, n)` take away."""
        sample, image = np.nonzero(weights != 1)
        return cls(len(weights), sample, image, 1 - weights[sample, image])

    def up_to(self, ranking: Ranking, only: Booleans) -> Floats:
        """Add up what is taken away before each step and up to its end, and from all: `(2 steps + 1, b)`.

        Args:
            ranking: of one finding.
            only: `(n,)` images that count.
        """
        counted = only[self.image]
        image, sample = self.image[counted], self.sample[counted]
        places = 2 * ranking.ranked.shape[1] + 2
        cells = np.bincount(ranking.place[image] * self.samples + sample, self.weight[counted], places * self.samples)
        return np.cumsum(cells.reshape(places, self.samples)[:-1], axis=0)


def _score_finding(ranking: Ranking, left_out: _LeftOut) -> tuple[Floats, Floats]:
    """Compute AUROC and average precision `(b,)` of one finding under each weighting.

    AUROC is the Mann-Whitney statistic, ties counted half (Hanley and McNeil, Radiology 143, 1982); average precision
    is the sum of precision times gain in recall over distinct scores. Both equal scikit-learn's with sample
    weights, and are NaN where a class is missing.
    """
    seen, found = (
        np.append(counts.T.ravel(), whole)[:, None] - left_out.up_to(ranking, only)
        for counts, whole, only in (
            (ranking.ranked, ranking.images, np.ones(len(ranking.positive), bool)),
            (ranking.found, ranking.positive.sum(), ranking.positive),
        )
    )
    positives = found[-1]
    pairs = positives * (seen[-1] - positives)
    found_before, found_after = found[:-1:2], found[1::2]
    gained = found_after - found_before
    alarms = (seen[:-1:2] - found_before + seen[1::2] - found_after) / 2  # negatives above, those tied counted half
    precision = found_after / np.maximum(seen[1::2], 1)
    both = pairs > 0
    area = 1 - ratio((gained * alarms).sum(axis=0), pairs)
    return np.where(both, area, np.nan), np.where(both, ratio((gained * precision).sum(axis=0), positives), np.nan)


def ranking_scores(rankings: list[Ranking], weights: Weights) -> Floats:
    """Compute AUROC and average precision of all findings under each row of `weights (b, n)`: `(2, b, k)`."""
    left_out = _LeftOut.of(weights)
    return np.stack([_score_finding(ranking, left_out) for ranking in rankings], axis=-1)


def place_within_folds(scores: Floats, positive: Booleans, fold: npt.NDArray[Any]) -> Floats:
    """Say which share of the negatives of its fold each image is above.

    Scores by models of two folds can't be compared: what tells more in a fold tells less in the others, whose model
    scores it, so that one ranking of all would tell the opposite where there is nothing to tell. These placement values
    can: their AUROC is that within folds (Janes and Pepe, Biometrika 96, 2009).

    Args:
        scores: `(n,)`, each by the model that has not seen the fold.
        positive: `(n,)`.
        fold: `(n,)` of each image.

    Returns:
        `(n,)` in 0..1, ties counted half; 0.5 in a fold without negatives.
    """
    places = np.full(len(scores), 0.5)
    for each in np.unique(fold):
        inside = fold == each
        negatives = np.sort(scores[inside & ~positive])
        if len(negatives):
            ends = (np.searchsorted(negatives, scores[inside], side) for side in ("left", "right"))
            places[inside] = np.mean([*ends], axis=0) / len(negatives)
    return places


def ratio(part: Any, whole: Any) -> Any:
    """Divide arrays of any one shape in which nothing of nothing is 0, as scikit-learn's `zero_division=0`."""
    return part / np.where(whole == 0, 1, whole)


def mean_over_findings(values: Floats) -> Floats:
    """Average over findings `(..., k) -> (...)`, those that are NaN left out; NaN where all are."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0).sum(axis=-1)
    return np.where(count > 0, ratio(total, count), np.nan)


def auroc(labels: LabelMasks, scores: npt.ArrayLike) -> Floats:
    """Compute the area under the ROC curve of each finding.

    Args:
        labels: of n images and k findings.
        scores: `(n, k)`, finite; higher means more likely.

    Returns:
        `(k,)` in 0..1, equal to scikit-learn's `roc_auc_score`; NaN for a finding without both classes.

    Raises:
        ValueError: wrong shapes or values.

    Example:
        >>> from chestxray.labels import label_masks
        >>> labels = label_masks([[0], [0], [1], [1]], ["Tuberculosis"])
        >>> float(auroc(labels, [[0.1], [0.4], [0.35], [0.8]])[0])
        0.75
    """
    return _point_scores(labels, scores)[0]


def mean_auroc(labels: LabelMasks, scores: npt.ArrayLike) -> float:
    """Average the AUROC over the findings that have both classes.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    check_scorable(labels)
    return float(np.nanmean(auroc(labels, scores)))


def average_precision(labels: LabelMasks, scores: npt.ArrayLike) -> Floats:
    """Compute the average precision of each finding: as `auroc`, equal to scikit-learn's `average_precision_score`."""
    return _point_scores(labels, scores)[1]


def _point_scores(labels: LabelMasks, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    rankings = rank_findings(labels, check_scores(scores, "scores", labels.findings, len(labels)))
    area, precision = ranking_scores(rankings, counted_once(len(labels)))
    return area[0], precision[0]


def _curve(finding: str, **columns: Floats) -> pd.DataFrame:
    """Take at most `CURVE_POINTS` evenly spaced points of a curve, its ends among them."""
    points = pd.DataFrame({"finding": finding, **columns}).round(DECIMALS).drop_duplicates(ignore_index=True)
    kept = np.linspace(0, len(points) - 1, min(CURVE_POINTS, len(points))).round().astype(int)
    return points.iloc[kept]


def curves(labels: LabelMasks, probabilities: npt.ArrayLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute ROC and precision-recall curves, as points to plot, at most 200 a finding.

    ROC points are the corners of the curve. Precision-recall points are those where recall grows, with the first
    carried back to recall 0; drawn as steps, precision holding to the left, they enclose the average precision.

    Args:
        labels: of n images and k findings.
        probabilities: `(n, k)`, finite.

    Returns:
        Frames `finding, fpr, tpr` and `finding, recall, precision`, in the order of the labels' findings; a finding
        without both classes has no rows.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    rankings = rank_findings(labels, check_scores(probabilities, "probabilities", labels.findings, len(labels)))
    roc = []
    precision_recall = []
    for finding in np.flatnonzero(check_scorable(labels)):
        ranking = rankings[finding]
        name = labels.findings[finding]
        positives = int(ranking.positive.sum())
        alarms = (ranking.ranked - ranking.found).T.ravel() / (ranking.images - positives)
        found = ranking.found.T.ravel() / positives
        roc.append(_curve(name, fpr=np.array([0, *alarms, 1]), tpr=np.array([0, *found, 1])))
        recall = ranking.found[1] / positives
        precision = ranking.found[1] / ranking.ranked[1]
        precision_recall.append(
            _curve(name, recall=np.array([0, *recall]), precision=np.array([precision[0], *precision]))
        )
    return pd.concat(roc, ignore_index=True), pd.concat(precision_recall, ignore_index=True)
