"""Fit the linear head to its optimum on cached features, with its penalty chosen by patient-grouped folds.

Every fold and all training images are fitted at once, since they share each pass over the features.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.split import patient_fold
from chestxray.errors import UserError
from chestxray.labels import has_both_classes, label_masks
from chestxray.metrics.ranking import auroc, mean_auroc
from chestxray.params import TrainParams
from chestxray.training.features import Features
from chestxray.training.head_objective import IMAGES_AT_ONCE, HeadObjective
from chestxray.training.views import PREDICTION_VIEWS

Floats = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """The trained head and how it was chosen.

    Attributes:
        weights: float32 (F + 1) × k, the last row is the bias; for features that are not standardised.
        l2: the λ chosen.
        folds: a row per λ: `l2`, `mean_auroc` over held-out folds.
        curve: a row per step of L-BFGS at the chosen λ: `iteration`, `loss` (mean over findings, and over
            the fits of all folds and the last one, with the penalty).
        held_out: float32 N × k, log odds of the labels of the training images, each by the fit at the chosen λ that
            left the fold of its patient out: its logits as of `head_logits`, less the logarithm of the class weight,
            by which that raises them. 0 for a finding that is left out.
    """

    weights: Single
    l2: float
    folds: pd.DataFrame
    curve: pd.DataFrame
    held_out: Single


def fit_head(features: Features, class_weights: Floats, params: TrainParams) -> Head:
    """Choose λ by patient-grouped folds and fit the head to all training images.

    Args:
        features: of the training images.
        class_weights: weight of a positive label, k. A finding of weight 0 is left out: its column is zero, and the
            others are what they would be without it.
        params: λ or a grid of them, number of folds, how much findings share.

    Raises:
        UserError: a fold has no patient, or no fold can be scored.
    """
    learnable = class_weights > 0
    fitted = _fit(features.of(np.array(features.findings)[learnable].tolist()), class_weights[learnable], params)
    weights, held_out = (_widen(columns, learnable) for columns in (fitted.weights, fitted.held_out))
    return replace(fitted, weights=weights, held_out=held_out)


def _widen(columns: Single, learnable: npt.NDArray[np.bool_]) -> Single:
    """Return the columns of the learnable findings among columns of 0 for the others."""
    wide = np.zeros((len(columns), len(learnable)), np.float32)
    wide[:, learnable] = columns
    return wide


def _fit(features: Features, class_weights: Floats, params: TrainParams) -> Head:
    """Fit the head to findings that all have a weight."""
    folds = np.array([patient_fold(patient, params.folds) for patient in features.patients])
    if len(np.unique(folds)) < params.folds:
        raise UserError(
            f"{len(set(features.patients))} patients are too few for train.folds {params.folds}: none falls on fold "
            f"{min(set(range(params.folds)) - set(folds.tolist()))}. Give more patients, some dozens at least"
        )
    # One group of columns per fold, which leaves the fold's patients out, and a last one that leaves none out.
    groups = np.column_stack([folds != fold for fold in range(params.folds)] + [np.ones(len(folds), bool)])
    problem = HeadObjective(features, groups, class_weights, np.full(groups.shape[1], params.shared))
    fits = []
    rows = []
    grid = l2_grid(params)
    for l2, (weights, curve) in zip(grid, problem.path(grid), strict=True):
        held_out = _held_out_logits(features, problem.unstandardise(weights), folds)
        rows.append((l2, _held_out_auroc(features, held_out, folds)))
        fits.append((weights, curve, held_out))
    table = pd.DataFrame(rows, columns=["l2", "mean_auroc"])
    best = int(table["mean_auroc"].argmax())
    weights, curve, held_out = fits[best]
    held_out -= np.log(class_weights).astype(np.float32)
    return Head(problem.unstandardise(weights)[:, -1].astype(np.float32), grid[best], table, curve, held_out)


def fit_each(
    features: Features, class_weights: Floats, grid: Sequence[float], shared: Sequence[float]
) -> Iterator[tuple[float, float, Single]]:
    """Fit a head to all training images for each λ and each degree of sharing, with few passes over the features.

    All degrees of sharing take part in each pass, and each λ starts from the one before.

    Args:
        features: of the training images.
        class_weights: weight of a positive label, k, all above 0.
        grid: values of λ.
        shared: values of `train.shared`.

    Yields:
        λ, strongest first, `shared`, and the head as `Head.weights`.
    """
    every = np.ones((len(features.studies), len(shared)), bool)
    problem = HeadObjective(features, every, class_weights, np.array(shared, float))
    descending = sorted(grid, reverse=True)
    for l2, (weights, _) in zip(descending, problem.path(descending), strict=True):
        raw = problem.unstandardise(weights).astype(np.float32)
        yield from ((l2, each, raw[:, group]) for group, each in enumerate(shared))


def l2_grid(params: TrainParams) -> tuple[float, ...]:
    """Return the values of λ to choose from, strongest first (each fit starts from the one before)."""
    values = params.l2 if isinstance(params.l2, tuple) else (params.l2,)
    return tuple(sorted(values, reverse=True))


def head_logits(features: Features, weights: Single) -> Single:
    """Compute the logits of the mean of the prediction views.

    Args:
        features: of N images.
        weights: float32 (F + 1) × C, the last row is the bias.

    Returns:
        float32 N × C.
    """
    return np.concatenate(list(_logits_of_chunks(features, weights)))


def _logits_of_chunks(features: Features, weights: Single) -> Iterator[Single]:
    """Yield what `head_logits` returns, some images at a time."""
    for chunk in features.pooled_chunks(IMAGES_AT_ONCE):
        yield chunk[:, :PREDICTION_VIEWS].astype(np.float32).mean(axis=1) @ weights[:-1] + weights[-1]


def head_auroc(features: Features, weights: Single, findings: npt.NDArray[np.bool_]) -> float:
    """Compute the mean AUROC of a head, as `head_logits` takes it, over some of its findings; NaN if none is ranked."""
    scores = auroc(label_masks(features.labels, features.findings), head_logits(features, weights))[findings]
    return float("nan") if np.isnan(scores).all() else float(np.nanmean(scores))


def stack_head(columns: Mapping[str, Single], findings: Sequence[str]) -> list[Single]:
    """Return kernel and bias of a head from the columns of its findings; a finding without one gets zeros."""
    nothing = np.zeros_like(next(iter(columns.values())))
    head = np.stack([columns.get(finding, nothing) for finding in findings], axis=-1)
    return [head[:-1], head[-1]]


def _held_out_logits(features: Features, weights: Floats, folds: npt.NDArray[np.intp]) -> Single:
    """Compute the logits of each image by the fit that left its fold out: N × k."""
    chosen: list[Single] = []
    done = 0
    for logits in _logits_of_chunks(features, weights.reshape(len(weights), -1).astype(np.float32)):
        images = len(logits)
        chosen.append(logits.reshape(images, *weights.shape[1:])[np.arange(images), folds[done : done + images]])
        done += images
    return np.concatenate(chosen)


def _held_out_auroc(features: Features, held_out: Single, folds: npt.NDArray[np.intp]) -> float:
    """Compute the mean AUROC of the folds, each scored by the fit that left it out, if a finding can be ranked there.

    Raises:
        UserError: no finding can be ranked in any fold.
    """
    labels = label_masks(features.labels, features.findings)
    chosen = [folds == fold for fold in np.unique(folds)]
    scores = [
        mean_auroc(labels.at(images), held_out[images])
        for images in chosen
        if has_both_classes(labels.at(images)).any()
    ]
    if not scores:
        raise UserError(
            f"none of train.folds {len(chosen)} has patients with and patients without one of the "
            f"{len(labels.findings)} findings, of {len(set(features.patients))} patients. Give more patients, some "
            "dozens at least"
        )
    return float(np.mean(scores))
