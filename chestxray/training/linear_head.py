"""Fit the linear head to its optimum on cached features, with its penalty chosen by patient-grouped folds.

The objective of a finding is the mean, over the images that label it and their views, of the weighted binary
cross-entropy on the logit, plus λ/2 of a squared norm of the weights of the standardised features, by which findings
lend each other a shared part (Evgeniou and Pontil, "Regularized multi-task learning", KDD 2004). L-BFGS (Liu and
Nocedal, Mathematical Programming 45, 1989) minimises it for all findings, every fold and all training images at once,
since they share each pass over the features, in coordinates in which few passes are enough. See
docs/decisions/linear-head.md.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from chestxray.datasets.split import patient_fold
from chestxray.errors import UserError
from chestxray.findings import UNLABELLED
from chestxray.labels import has_both_classes, label_masks
from chestxray.metrics.ranking import auroc, mean_auroc
from chestxray.params import TrainParams
from chestxray.system.parallel import parallel_map
from chestxray.tracking.progress import steps
from chestxray.training.features import Features, Half
from chestxray.training.views import PREDICTION_VIEWS

Floats = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

IMAGES_AT_ONCE = 64
CHUNKS_IN_FLIGHT = 32
MAX_ITERATIONS = 300
TOLERANCE = 1e-7
MATRICES_IN_FLIGHT = 4
"""Of features × features, 14 MB each."""
FLATTEST = 1e-6
"""Curvature of the loss of a finding that is taken at least."""


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
    problem = _Problem(features, groups, class_weights, np.full(groups.shape[1], params.shared))
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
    problem = _Problem(features, every, class_weights, np.array(shared, float))
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
    chunks = features.pooled_chunks(IMAGES_AT_ONCE)
    pooled = (chunk[:, :PREDICTION_VIEWS].astype(np.float32).mean(axis=1) for chunk in chunks)
    return np.concatenate([chunk @ weights[:-1] + weights[-1] for chunk in pooled])


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
    logits = head_logits(features, weights.reshape(len(weights), -1).astype(np.float32))
    return logits.reshape(len(logits), *weights.shape[1:])[np.arange(len(logits)), folds]


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


class _Problem:
    """The objective over all groups of columns; `weights` are (features + 1) × groups × findings.

    They are those of standardised features in coordinates in which the penalty is ‖v‖² / 2: the weights of a group's
    findings are v K^½ with K = I + ρ 11ᵀ. So a finding's weights have a part that all findings share, of variance ρ,
    and one of its own, of variance 1.

    Args:
        features: of N images.
        groups: `(N, groups)`, which images a group is fitted to.
        class_weights: weight of a positive label, k.
        shared: `(groups,)`, ρ of each.
    """

    def __init__(
        self, features: Features, groups: npt.NDArray[np.bool_], class_weights: Floats, shared: Floats
    ) -> None:
        findings = len(class_weights)
        self._lent = (np.sqrt(1 + shared * findings) - 1)[:, None] / findings
        self._features = features
        self._groups = groups
        self._class_weights = class_weights.astype(np.float32)
        self._labels = features.labels
        labelled = groups.T.astype(int) @ (self._labels != UNLABELLED)  # images, groups × findings
        self._labelled = np.maximum(labelled, 1)
        self._mean, self._deviation = _moments(features)
        self._shared = shared

    def path(self, grid: Iterable[float]) -> Iterator[tuple[Floats, pd.DataFrame]]:
        """Minimise for one λ after the other, each from where the one before ended, the first from weights of zero.

        Yields:
            The weights, and the loss of each step.
        """
        weights = np.zeros((len(self._mean) + 1, self._groups.shape[1], len(self._class_weights)))
        curvature = _Curvature(self._correlations(), self._loss_curvature(), self._shared)
        for l2 in grid:
            weights, curve = self._solve(weights, l2, curvature.coordinates(l2))
            yield weights, curve

    def _correlations(self) -> Floats:
        """Compute the correlations of the features over images and views, F × F."""

        def products(chunk: Half) -> Single:
            rows = chunk.astype(np.float32).reshape(-1, chunk.shape[-1])
            standard = (rows - self._mean.astype(np.float32)) / self._deviation.astype(np.float32)
            return np.asarray(standard.T @ standard, np.float32)

        total = np.zeros((len(self._mean), len(self._mean)))
        with threadpool_limits(1, user_api="blas"):
            for part in parallel_map(products, self._features.pooled_chunks(IMAGES_AT_ONCE), MATRICES_IN_FLIGHT):
                total += part
        return np.asarray(total / (len(self._labels) * self._features.pooled[0].shape[1]))

    def _loss_curvature(self) -> Floats:
        """Compute the mean curvature of the loss of each finding, k, if it is as likely in all images."""
        present = (self._labels == 1).sum(axis=0) / np.maximum((self._labels != UNLABELLED).sum(axis=0), 1)
        weight = self._class_weights * present + 1 - present
        probability = self._class_weights * present / weight
        return np.asarray(np.maximum(probability * (1 - probability) * weight, FLATTEST))

    def _mix(self, weights: Floats) -> Floats:
        """Multiply by K^½, which is symmetric: add to each finding's what all lend it."""
        return np.asarray(weights + self._lent * weights.sum(axis=-1, keepdims=True))

    def unstandardise(self, weights: Floats) -> Floats:
        """Return the weights of the findings for features that are not standardised: W/σ, b − Σ μ W/σ."""
        scaled = self._mix(weights[:-1]) / self._deviation[:, None, None]
        bias = weights[-1] - np.tensordot(self._mean, scaled, axes=1)
        return np.concatenate([scaled, bias[None]])

    def _solve(self, start: Floats, l2: float, coordinates: "_Coordinates") -> tuple[Floats, pd.DataFrame]:
        """Minimise from `start`; return the weights, and the loss of each step."""
        losses: list[float] = []

        def objective(flat: Floats) -> tuple[float, Floats]:
            loss, gradient = self._loss(coordinates.weights(flat.reshape(start.shape)), l2)
            return loss, coordinates.gradient(gradient).ravel()

        def after_step(intermediate_result: OptimizeResult) -> None:
            losses.append(intermediate_result.fun / self._groups.shape[1])
            step()

        # One thread: SciPy's BLAS and NumPy's don't wait for each other, and no sum depends on the number of cores.
        with threadpool_limits(1, user_api="blas"), steps(f"fitting the head, L2 {l2:g}") as step:
            result = minimize(
                objective,
                coordinates.of(start).ravel(),
                jac=True,
                method="L-BFGS-B",
                callback=after_step,
                options={"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-8, "maxcor": 10},
            )
        if not result.success:
            logging.getLogger(__name__).warning("the head at L2 %g: %s after %d steps", l2, result.message, result.nit)
        curve = pd.DataFrame({"iteration": np.arange(1, len(losses) + 1), "loss": losses})
        return coordinates.weights(result.x.reshape(start.shape)), curve

    def _loss(self, weights: Floats, l2: float) -> tuple[float, Floats]:
        """Compute the objective and its gradient."""
        findings = weights.shape[-1]
        raw_weights = self.unstandardise(weights).reshape(len(weights), -1).astype(np.float32)
        loss = 0.0
        product = np.zeros_like(raw_weights[:-1], np.float64)
        total = np.zeros(raw_weights.shape[1])
        # Summed in the order of the chunks, whichever thread was first: the same bits on any number of cores.
        parts = parallel_map(partial(self._chunk_loss, raw_weights), self._chunks(), CHUNKS_IN_FLIGHT)
        for chunk_loss, chunk_product, chunk_total in parts:
            loss += chunk_loss
            product += chunk_product
            total += chunk_total
        gradient = (product - self._mean[:, None] * total) / self._deviation[:, None]
        gradient = np.concatenate([gradient, total[None]]).reshape(weights.shape)
        gradient[:-1] = self._mix(gradient[:-1])
        gradient[:-1] += l2 / findings * weights[:-1]
        return loss + l2 / (2 * findings) * float((weights[:-1] ** 2).sum()), gradient

    def _chunks(self) -> Iterator[tuple[slice, Half]]:
        """Yield some images at a time: which they are, and their features."""
        done = 0
        for chunk in self._features.pooled_chunks(IMAGES_AT_ONCE):
            yield slice(done, done + len(chunk)), chunk
            done += len(chunk)

    def _chunk_loss(self, raw_weights: Single, chunk: tuple[slice, Half]) -> tuple[float, Single, Floats]:
        """Compute what some images add to the loss, and to its derivative by the weights and by the biases."""
        images, features = chunk
        findings = self._labels.shape[1]
        pooled = features.astype(np.float32).reshape(-1, features.shape[-1])
        share = self._groups[images][..., None] / (self._labelled * features.shape[1] * findings)
        loss, slope = _cross_entropy(
            (pooled @ raw_weights[:-1] + raw_weights[-1]).reshape(len(features), features.shape[1], -1, findings),
            self._labels[images][:, None, None],
            self._class_weights,
            share[:, None].astype(np.float32),
        )
        flat = slope.reshape(len(pooled), -1)
        return loss, pooled.T @ flat, flat.sum(axis=0, dtype=np.float64)


class _Curvature:
    """About how the objective curves, in the coordinates of `_Problem`.

    Its Hessian is taken as that of findings which are as likely in all images: for finding k the curvature of its loss
    times the correlations of the features, times 1 + kρ in the direction in which all findings go together, plus λ.

    Args:
        correlations: `(F, F)` of the features.
        of_loss: `(k,)`, curvature of the loss of each finding.
        shared: `(groups,)`, ρ of each group.
    """

    def __init__(self, correlations: Floats, of_loss: Floats, shared: Floats) -> None:
        with threadpool_limits(1, user_api="blas"):
            values, self._vectors = np.linalg.eigh(correlations)
        self._values = np.maximum(values, 0)
        self._of_loss = of_loss
        self._together = 1 + shared * len(of_loss)

    def coordinates(self, l2: float) -> "_Coordinates":
        """Return coordinates in which the objective curves about alike in all directions, for one λ."""
        findings = len(self._of_loss)
        alone = self._values[:, None, None] * self._of_loss + l2
        mean = self._values[:, None] * self._of_loss.mean()
        together = np.sqrt((mean + l2) / (mean * self._together + l2))[..., None]
        return _Coordinates(self._vectors, np.sqrt(findings / alone), together, np.sqrt(findings / self._of_loss))


@dataclass(frozen=True)
class _Coordinates:
    """Coordinates that L-BFGS works in, so that it needs a fifth of the steps: preconditioning.

    They are a change of variables by about the inverse square root of the Hessian (Nocedal and Wright, Numerical
    Optimization, 2006, chapter 5), in the basis of the correlations' eigenvectors.

    Attributes:
        vectors: `(F, F)`, the eigenvectors, a column each.
        alone: `(F, 1, k)`, what the part of each eigenvector and finding is multiplied by.
        together: `(F, groups, 1)`, what the mean over findings is multiplied by besides.
        bias: `(k,)`, the same of the biases.
    """

    vectors: Floats
    alone: Floats
    together: Floats
    bias: Floats

    def weights(self, here: Floats) -> Floats:
        """Return weights, (F + 1) × groups × k, by their coordinates."""
        turned = self._turn(self.vectors, self.alone * _stretch(here[:-1], self.together))
        return np.concatenate([turned, here[-1:] * self.bias])

    def gradient(self, there: Floats) -> Floats:
        """Return the derivative by the coordinates, by that by the weights."""
        turned = _stretch(self.alone * self._turn(self.vectors.T, there[:-1]), self.together)
        return np.concatenate([turned, there[-1:] * self.bias])

    def of(self, weights: Floats) -> Floats:
        """Return the coordinates of weights."""
        turned = _stretch(self._turn(self.vectors.T, weights[:-1]) / self.alone, 1 / self.together)
        return np.concatenate([turned, weights[-1:] / self.bias])

    @staticmethod
    def _turn(basis: Floats, columns: Floats) -> Floats:
        return np.asarray(basis @ columns.reshape(len(columns), -1)).reshape(columns.shape)


def _stretch(values: Floats, together: Floats) -> Floats:
    """Multiply what all findings have in common, their mean, and leave alone by how much they differ from it."""
    return np.asarray(values + (together - 1) * values.mean(axis=-1, keepdims=True))


def _cross_entropy(
    logits: Single, labels: npt.NDArray[np.int8], class_weights: Single, share: Single
) -> tuple[float, Single]:
    """Compute the weighted cross-entropy y·w·softplus(−z) + (1−y)·softplus(z), and its derivative by the logits z.

    Args:
        logits: of images × views × groups × findings.
        labels: 1, 0, or −1 for not labelled, which adds nothing.
        class_weights: weight w of a positive label, by finding.
        share: what a label counts in the sum.
    """
    positive = (labels == 1) * class_weights
    negative = (labels == 0).astype(np.float32)
    softplus = np.logaddexp(0.0, logits, dtype=np.float32)
    loss = float((share * (positive * (softplus - logits) + negative * softplus)).sum(dtype=np.float64))
    probability = expit(logits)
    return loss, share * (negative * probability - positive * (1.0 - probability))


def _moments(features: Features) -> tuple[Floats, Floats]:
    """Compute mean and standard deviation of each feature over images and views; 1 where a feature never varies."""
    count = 0
    total = 0.0
    squares = 0.0
    for chunk in features.pooled_chunks(IMAGES_AT_ONCE):
        rows = chunk.astype(np.float64).reshape(-1, chunk.shape[-1])
        count += len(rows)
        total += rows.sum(axis=0)
        squares += (rows**2).sum(axis=0)
    mean = np.asarray(total / count)
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return mean, np.where(deviation > 1e-6, deviation, 1.0)
