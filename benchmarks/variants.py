"""Hold every recipe for the model that `benchmarks.quality` compares, most of which were tried and not kept.

What was kept is in the library; of the others there is code here only. Each is told by its name in the table.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.laboratory import FINE, LAST, TAPS, Deal, Laboratory, Network
from chestxray.findings import UNLABELLED
from chestxray.models.keras_model import get_weights
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import prefix_graph
from chestxray.models.tensorflow import keras
from chestxray.models.weights import HEAD
from chestxray.params import TrainParams
from chestxray.training.features import Features
from chestxray.training.fine_tuning import fine_tune
from chestxray.training.head_objective import HeadObjective
from chestxray.training.images import TrainingImages, cached_images, recomputed_images
from chestxray.training.label_errors import contradict
from chestxray.training.linear_head import Head, fit_head

Recipe = Callable[[Laboratory, Deal, int], Network]
Floats = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
TWO = (FINE, LAST)
USUAL_L2 = 3.0
"""What is best for some hundred radiographs (docs/decisions/linear-head.md), for what is fitted at one λ."""


def recipes() -> dict[str, Recipe]:
    """Return what is compared, by its name in the table; the first is what the others are compared with."""
    two = head(TWO)
    return {
        "last layer, nothing shared, fine-tuned": tuned(head((LAST,), shared=0.0)),
        "last layer, nothing shared": head((LAST,), shared=0.0),
        "last layer": head((LAST,)),
        "two taps, nothing shared": head(TWO, shared=0.0),
        "two taps": two,
        "two taps, 2 views": head(TWO, views=2),
        "two taps, 16 views": head(TWO, views=16),
        "two taps, four test views": four_test_views(two),
        "three taps": head(TAPS),
        "two taps, no class weights": head(TWO, weigh=np.ones_like),
        "two taps, λ = 3": head(TWO, l2=USUAL_L2),
        "two taps, λ = 3, LDAM": ldam(1.0),
        "two taps, contradicted labels count half": without_contradicted(half=True),
        "two taps, contradicted labels left out": without_contradicted(half=False),
        "two taps, co-occurrence": co_occurrence(1.0),
        "two taps, fine-tuned": tuned(two),
        "two taps, last epoch": every_epoch(two, lambda epochs: epochs[-1]),
        "two taps, mean of the last two epochs": every_epoch(two, lambda epochs: mean_weights(epochs[-2:])),
        "two taps, mean of the last epoch and the head": every_epoch(
            two, lambda epochs: mean_weights([epochs[0], epochs[-1]])
        ),
        "two taps, from block_10, last epoch": every_epoch(two, lambda epochs: epochs[-1], "block_10"),
    }


def head(
    taps: tuple[str, ...],
    views: int | None = None,
    shared: float | None = None,
    l2: float | None = None,
    weigh: Callable[[Floats], Floats] = np.asarray,
) -> Recipe:
    """Fit the linear head on some taps and views.

    Args:
        taps: layers whose averages the head sees.
        views: of each training image; those of the params by default.
        shared: instead of that of the params.
        l2: one λ instead of those of the params.
        weigh: returns other class weights from those of the default recipe.
    """

    def train(lab: Laboratory, deal: Deal, seed: int) -> Network:
        """Fit on the training images; the seed changes nothing."""
        features = lab.features(deal.train, taps, views or lab.params.features.views)
        given = {name: value for name, value in (("shared", shared), ("l2", l2)) if value is not None}
        params = lab.params.train.model_copy(update=given)
        weights = lab.class_weights(deal.train)
        return _network(lab, taps, fit_head(features, np.where(weights > 0, weigh(weights), 0), params).weights)

    return train


def _network(lab: Laboratory, taps: tuple[str, ...], weights: Single) -> Network:
    """Put a head, (F + 1) × k, on the pre-trained network."""
    return Network(lab.pretrained | {HEAD: [weights[:-1], weights[-1]]}, lab.config(taps))


def four_test_views(of: Recipe) -> Recipe:
    """Have a recipe's network look at the whole image and its mirror too."""
    return lambda lab, deal, seed: replace(of(lab, deal, seed), whole=True)


def tuned(start_from: Recipe) -> Recipe:
    """Fine-tune from a head as the default recipe does, which keeps the best epoch if it gains enough in validation."""

    def train(lab: Laboratory, deal: Deal, seed: int) -> Network:
        """Train on the training images, choose by validation."""
        start = start_from(lab, deal, seed)
        chosen, _ = _fine_tuned(lab, deal, seed, start, lab.params.fine_tune.from_layer)
        return replace(start, weights=start.weights | chosen)

    return train


def _fine_tuned(
    lab: Laboratory, deal: Deal, seed: int, start: Network, from_layer: str
) -> tuple[LayerWeights, list[LayerWeights]]:
    """Fine-tune a network; return the weights that validation chooses, and those of the end of each epoch."""
    default = lab.params.fine_tune
    params = default.model_copy(update={"seed": default.seed + seed, "from_layer": from_layer})
    images, chosen_by = (_images(lab, rows, start, from_layer) for rows in (deal.train, deal.validation))
    keep = _Epochs()
    weights = lab.class_weights(deal.train)
    found = fine_tune(images, chosen_by, start.weights, weights, start.config, params, [keep])
    return found.weights, keep.weights


class _Epochs(keras.callbacks.Callback):
    """Keep the weights of the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[LayerWeights] = []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Keep them; Keras calls this."""
        self.weights.append(get_weights(self.model))


def every_epoch(
    start_from: Recipe, choose: Callable[[list[LayerWeights]], LayerWeights], from_layer: str | None = None
) -> Recipe:
    """Fine-tune from a head without asking validation.

    Args:
        start_from: the head.
        choose: makes the weights from those of the start and of the end of each epoch.
        from_layer: instead of that of the params; what lies before it is computed anew for each image and epoch.
    """

    def train(lab: Laboratory, deal: Deal, seed: int) -> Network:
        """Train on the training images."""
        start = start_from(lab, deal, seed)
        _, epochs = _fine_tuned(lab, deal, seed, start, from_layer or lab.params.fine_tune.from_layer)
        before = {name: start.weights[name] for name in epochs[0]}
        return replace(start, weights=start.weights | choose([before, *epochs]))

    return train


def _images(lab: Laboratory, rows: npt.NDArray[np.intp], network: Network, from_layer: str) -> TrainingImages:
    """Return images as the layers from `from_layer` on see them."""
    features = lab.features(rows, network.config.tap_names, lab.params.features.views)
    if from_layer == lab.params.fine_tune.from_layer:
        return cached_images(features, network.config, from_layer)
    prefix = prefix_graph(network.weights, network.config, from_layer).SerializeToString()
    return recomputed_images(features, lab.images(rows), prefix, network.config, from_layer, lab.params.features)


def mean_weights(networks: list[LayerWeights]) -> LayerWeights:
    """Average the weights of networks that one training passed through (Wortsman et al., CVPR 2022)."""
    return {
        name: [np.asarray(np.mean(arrays, axis=0), np.float32) for arrays in zip(*each, strict=True)]
        for name, each in ((name, [network[name] for network in networks]) for name in networks[0])
    }


class MarginObjective(HeadObjective):
    """The objective of the head with a margin by which the logit of a positive label has to exceed that of others.

    Args:
        margins: of each finding, k.
        (others): those of `HeadObjective`.
    """

    def __init__(self, margins: Single, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._margins = margins

    def cross_entropy(self, logits: Single, labels: npt.NDArray[np.int8], share: Single) -> tuple[float, Single]:
        """Compute the loss of the logits less the margins of positive labels."""
        return super().cross_entropy(logits - self._margins * (labels == 1), labels, share)


def ldam(most: float) -> Recipe:
    """Fit the head with label-distribution-aware margins ∝ n^-1/4 (Cao et al., NeurIPS 2019), the rarest's `most`."""

    def fit(features: Features, class_weights: Floats, params: TrainParams) -> Single:
        """Minimise the loss with margins at one λ."""
        positives = (features.labels == 1).sum(axis=0)
        margins = most * (positives / positives.min()) ** -0.25
        every = np.ones((len(features.studies), 1), bool)
        problem = MarginObjective(margins.astype(np.float32), features, every, class_weights, np.array([params.shared]))
        ((weights, _),) = problem.path([USUAL_L2])
        return problem.unstandardise(weights)[:, 0].astype(np.float32)

    return _of_learnable(fit)


def _of_learnable(fit: Callable[[Features, Floats, TrainParams], Single]) -> Recipe:
    """Fit the head to the findings that can be learned; the others' columns are 0, as `fit_head` has them."""

    def train(lab: Laboratory, deal: Deal, seed: int) -> Network:
        """Fit on the training images; the seed changes nothing."""
        features = lab.features(deal.train, TWO, lab.params.features.views)
        weights = lab.class_weights(deal.train)
        learned = np.flatnonzero(weights > 0)
        fitted = fit(features.of([features.findings[place] for place in learned]), weights[learned], lab.params.train)
        head = np.zeros((len(fitted), len(weights)), np.float32)
        head[:, learned] = fitted
        return _network(lab, TWO, head)

    return train


def without_contradicted(*, half: bool) -> Recipe:
    """Fit the head anew without the labels that it contradicts out of fold, or with half a weight for them.

    Source: confident learning (Northcutt, Jiang and Chuang, JAIR 2021).
    """

    def train(lab: Laboratory, deal: Deal, seed: int) -> Network:
        """Fit twice on the training images; the seed changes nothing."""
        features = lab.features(deal.train, TWO, lab.params.features.views)
        weights = lab.class_weights(deal.train)
        believed = _believed(features, fit_head(features, weights, lab.params.train))
        chosen = _together(features, believed) if half else believed
        return _network(lab, TWO, fit_head(chosen, weights, lab.params.train).weights)

    return train


def _believed(features: Features, fitted: Head) -> Features:
    """Return the features without the labels that the fit contradicts."""
    labels = features.labels.copy()
    for place in range(labels.shape[1]):
        images = np.flatnonzero(labels[:, place] != UNLABELLED)
        present = labels[images, place] == 1
        if present.any() and not present.all():
            found = contradict(fitted.held_out[images, place].astype(np.float64), present)
            labels[images[found.contradicted], place] = UNLABELLED
    return replace(features, studies=features.studies.assign(**dict(zip(features.findings, labels.T, strict=True))))


def _together(first: Features, second: Features) -> Features:
    """Return the features of both, one after the other."""
    studies = pd.concat([first.studies, second.studies], ignore_index=True)
    return Features(
        first.pooled + second.pooled, first.activations + second.activations, first.places + second.places, studies
    )


def co_occurrence(l2: float) -> Recipe:
    """Have each finding's logit see the other findings': a k × k linear layer behind the head, which keeps maps linear.

    It is fitted to the log odds out of fold, with a penalty on what it changes.

    Args:
        l2: of the penalty, in terms of one image's loss.
    """

    def fit(features: Features, class_weights: Floats, params: TrainParams) -> Single:
        """Fit the head, and the layer behind it to what the head says out of fold."""
        fitted = fit_head(features, class_weights, params)
        change, bias = fit_co_occurrence(fitted.held_out.astype(np.float64), features.labels, l2)
        layer = np.eye(len(bias)) + change
        constant = (fitted.weights[-1] - np.log(class_weights)) @ layer + bias  # as in Head.held_out
        return np.concatenate([fitted.weights[:-1] @ layer, constant[None]]).astype(np.float32)

    return _of_learnable(fit)


def fit_co_occurrence(odds: Floats, labels: npt.NDArray[np.int8], l2: float) -> tuple[Floats, Floats]:
    """Minimise the cross-entropy of odds (I + D) + c, summed over labels, plus l2/2 ‖D‖².

    Args:
        odds: N × k.
        labels: N × k of 1, 0, and −1 for not labelled.
        l2: of the penalty.

    Returns:
        D, k × k, and c, k.
    """
    findings = labels.shape[1]
    labelled = labels != UNLABELLED

    def objective(flat: Floats) -> tuple[float, Floats]:
        """Compute the loss and its derivative by D and c."""
        change, bias = np.split(flat.reshape(findings + 1, findings), [findings])
        logits = odds + odds @ change + bias
        slope = labelled * (expit(logits) - (labels == 1))
        loss = (labelled * (np.logaddexp(0.0, logits) - (labels == 1) * logits)).sum() + l2 / 2 * (change**2).sum()
        gradient = np.concatenate([odds.T @ slope + l2 * change, slope.sum(axis=0, keepdims=True)])
        return float(loss), gradient.ravel()

    found = minimize(objective, np.zeros((findings + 1) * findings), jac=True, method="L-BFGS-B")
    change, bias = np.split(found.x.reshape(findings + 1, findings), [findings])
    return change, bias[0]
