"""Minimise the objective of the linear head for several groups of images at once, which share each pass.

The objective of a finding is the mean, over the images that label it and their views, of the weighted binary
cross-entropy on the logit, plus λ/2 of a squared norm of the weights of the standardised features, by which findings
lend each other a shared part (Evgeniou and Pontil, "Regularized multi-task learning", KDD 2004). L-BFGS (Liu and
Nocedal, Mathematical Programming 45, 1989) minimises it for all findings and groups together. See
docs/decisions/linear-head.md.
"""

import logging
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from chestxray.findings import UNLABELLED
from chestxray.system.malloc import give_back_free_memory
from chestxray.system.parallel import parallel_map
from chestxray.tracking.progress import steps
from chestxray.training.features import Features, Half
from chestxray.training.preconditioning import Coordinates, Curvature

Floats = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

IMAGES_AT_ONCE = 64
CHUNKS_IN_FLIGHT = 32
IMAGES_A_MATRIX = 256
MATRICES_IN_FLIGHT = 3
"""Of features × features, 14 MB each, as large as the 8 views of so many images."""
MAX_ITERATIONS = 300
TOLERANCE = 1e-7
FLATTEST = 1e-6
"""Curvature of the loss of a finding that is taken at least."""


class HeadObjective:
    """The objective over all groups of images, as a function of `weights`: (features + 1) × groups × findings.

    These are not yet the weights of the findings, but v, in which the penalty is ‖v‖² / 2: for standardised features
    the weights of a group's findings are v K^½ with K = I + ρ 11ᵀ. So a finding's weights have a part that all findings
    share, of variance ρ, and one of its own, of variance 1. `unstandardise` returns those of the findings.

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
        curvature = Curvature(self.correlations(), self._loss_curvature(), self._shared)
        for l2 in grid:
            weights, curve = self._solve(weights, l2, curvature.coordinates(l2))
            yield weights, curve

    def correlations(self) -> Floats:
        """Compute the correlations of the features over images and views, F × F."""
        mean, deviation = self._mean.astype(np.float32), self._deviation.astype(np.float32)

        def products(chunk: Half) -> Single:
            rows = chunk.astype(np.float32).reshape(-1, len(mean))
            rows -= mean
            rows /= deviation
            return np.asarray(rows.T @ rows)

        total = np.zeros((len(mean), len(mean)))
        with threadpool_limits(1, user_api="blas"):
            for part in parallel_map(products, self._features.pooled_chunks(IMAGES_A_MATRIX), MATRICES_IN_FLIGHT):
                total += part
        total /= len(self._labels) * self._features.pooled[0].shape[1]
        give_back_free_memory()
        return total

    def _loss_curvature(self) -> Floats:
        """Compute the curvature of the loss of each finding, k, if everywhere it is as likely as its prevalence."""
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

    def _solve(self, start: Floats, l2: float, coordinates: Coordinates) -> tuple[Floats, pd.DataFrame]:
        """Minimise from `start`; return the weights, and the loss of each step."""
        losses: list[float] = []

        def objective(flat: Floats) -> tuple[float, Floats]:
            loss, gradient = self.loss(coordinates.weights(flat.reshape(start.shape)), l2)
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

    def loss(self, weights: Floats, l2: float) -> tuple[float, Floats]:
        """Compute the objective for weights, (features + 1) × groups × findings, and its gradient by them."""
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
        logits = (pooled @ raw_weights[:-1] + raw_weights[-1]).reshape(len(features), features.shape[1], -1, findings)
        loss, slope = self.cross_entropy(logits, self._labels[images][:, None, None], share[:, None].astype(np.float32))
        flat = slope.reshape(len(pooled), -1)
        return loss, pooled.T @ flat, flat.sum(axis=0, dtype=np.float64)

    def cross_entropy(self, logits: Single, labels: npt.NDArray[np.int8], share: Single) -> tuple[float, Single]:
        """Compute the weighted cross-entropy y·w·softplus(−z) + (1−y)·softplus(z), and its derivative by the logits z.

        Args:
            logits: of images × views × groups × findings.
            labels: 1, 0, or −1 for not labelled, which adds nothing.
            share: what a label counts in the sum.
        """
        positive = (labels == 1) * self._class_weights
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
