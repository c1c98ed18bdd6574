"""Fine-tune the deeper layers, and keep the best epoch if it gains enough.

See docs/decisions/fine-tuning.md.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.findings import UNLABELLED
from chestxray.labels import label_masks
from chestxray.metrics.comparison import mean_auroc_gain
from chestxray.metrics.jackknife import check_patients
from chestxray.metrics.ranking import mean_auroc
from chestxray.models.keras_model import get_weights, set_weights, trainable_part
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.pretrained_config import PretrainedConfig
from chestxray.models.tensorflow import keras, tf
from chestxray.params import FineTuneParams
from chestxray.training.images import TrainingImages
from chestxray.training.views import PREDICTION_VIEWS


@dataclass(frozen=True)
class FineTuned:
    """The network that validation chooses: the best epoch, or the start.

    Attributes:
        weights: of the layers from `fine_tune.from_layer` on, head included.
        curve: a row per epoch, 0 being the start: `epoch`, `loss`, `validation_loss`, `validation_mean_auroc`, and
            `kept`, 1 of the one that is kept and 0 of the others.
        best_epoch: of training; 0 where none was above the start, or none was trained.
        gain: its validation mean AUROC less that of the start, and the standard error of that over patients; NaN where
            that of each finding hangs on a single patient.
        kept: whether the best epoch is kept, since its gain is more than one standard error, which is known.
        logits: float32 N × k, of validation, a row of `curve` each.
    """

    weights: LayerWeights
    curve: pd.DataFrame
    best_epoch: int
    gain: tuple[float, float]
    kept: bool
    logits: tuple[npt.NDArray[np.float32], ...]

    def metrics(self) -> dict[str, float]:
        """Return the validation mean AUROC of the start and of what is kept, the best epoch's gain, and both epochs."""
        scores = self.curve["validation_mean_auroc"]
        found = {
            "start_validation_mean_auroc": scores.iloc[0],
            "validation_mean_auroc": scores.iloc[self.best_epoch if self.kept else 0],
            "gain": self.gain[0],
            "gain_error": self.gain[1],
        }
        return {name: round(float(value), 6) for name, value in found.items() if np.isfinite(value)} | {
            "best_epoch": self.best_epoch,
            "kept_epoch": self.best_epoch if self.kept else 0,
        }


def fine_tune(
    train: TrainingImages,
    validation: TrainingImages,
    weights: LayerWeights,
    class_weights: npt.NDArray[np.float64],
    config: PretrainedConfig,
    params: FineTuneParams,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> FineTuned:
    """Train with AdamW (Loshchilov and Hutter, ICLR 2019), warm-up and cosine; one random view per image and epoch.

    All epochs are trained, so that the cosine ends. The best one by the mean AUROC of validation is kept if it beats
    the start by more than one standard error of the difference over patients (the rule of Breiman et al.,
    Classification and Regression Trees, 1984: the simpler model, unless the other is that much better). The best of
    several epochs passes by luck more often than one epoch would.

    Args:
        train: images to train on.
        validation: images to choose the epoch by.
        weights: where to start; at least the layers from `params.from_layer` on, head included.
        class_weights: weight of a positive label, k. A finding of weight 0 counts as not labelled.
        config: of the backbone.
        params: how to train.
        callbacks: Keras calls them as it trains.

    Raises:
        KeyError: `weights` lacks a layer.
        UserError: validation has a single patient.
    """
    check_patients(validation.patients, len(validation.labels))
    keras.utils.set_random_seed(params.seed)
    tf.config.experimental.enable_op_determinism()
    train, validation = (images.without_labels_of(class_weights == 0) for images in (train, validation))
    steps = -(-len(train.labels) // params.batch_size)
    with _strategy().scope(), _precision("mixed_float16" if params.mixed_precision else "float32"):
        model = trainable_part(config, params.from_layer, len(train.findings))
        set_weights(model, weights)
        loss = cross_entropy(class_weights)
        model.compile(optimizer=_optimizer(steps * params.epochs, params), loss=loss)
    best = BestWeights(model, validation, loss, params.batch_size)
    data = _epochs(train, [array.shape[1:] for array in model.inputs], params)
    if params.epochs:
        model.fit(
            data, epochs=params.epochs, steps_per_epoch=steps, callbacks=[best, *callbacks], shuffle=False, verbose=2
        )
    return best.chosen()


def cross_entropy(class_weights: npt.NDArray[np.float64]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the weighted binary cross-entropy over the labels that are given.

    Args:
        class_weights: weight of a positive label, k.

    Returns:
        A function from labels (N × k of 1, 0, and −1 for not labelled) and logits to N × k losses: 0 where there is
        no label, the others scaled so that the mean of all is the mean over the labels. Every label weighs the same.
    """
    positive_weight = tf.constant(class_weights, tf.float32)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        labelled = tf.cast(tf.not_equal(labels, UNLABELLED), tf.float32)
        scale = tf.math.divide_no_nan(tf.cast(tf.size(labelled), tf.float32), tf.reduce_sum(labelled))
        entropy = tf.nn.weighted_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits, positive_weight)
        return entropy * labelled * scale

    return loss


def _strategy() -> tf.distribute.Strategy:
    several = len(tf.config.list_physical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Have networks that are built inside the block compute by a Keras dtype policy."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _optimizer(steps: int, params: FineTuneParams) -> keras.optimizers.Optimizer:
    warm_up = int(params.warm_up * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm_up else params.learning_rate,
        decay_steps=max(1, steps - warm_up),
        alpha=params.final_learning_rate,
        warmup_target=params.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=params.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _epochs(train: TrainingImages, shapes: list[tuple[int, ...]], params: FineTuneParams) -> tf.data.Dataset:
    """Return shuffled batches without end; every epoch holds each image once, in one of its views."""
    rng = np.random.default_rng(params.seed)

    def batches() -> Iterator[tuple[tuple[npt.NDArray[np.float16], ...], npt.NDArray[np.int8]]]:
        """Yield inputs, float16 b × shape each, and labels, int8 b × k."""
        while True:
            order = rng.permutation(len(train.labels))
            chosen = rng.integers(train.views, size=len(order))
            for start in range(0, len(order), params.batch_size):
                # In the order of the file, which is read faster; within a batch the order has no effect.
                part = np.sort(order[start : start + params.batch_size])
                inputs = train.load(part, chosen[part])
                yield tuple(array.astype(np.float16) for array in inputs), train.labels[part]

    inputs = tuple(tf.TensorSpec((None, *shape), tf.float16) for shape in shapes)
    signature = (inputs, tf.TensorSpec((None, len(train.findings)), tf.int8))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


class _Epoch(NamedTuple):
    """An epoch, its validation mean AUROC, and the weights at its end."""

    epoch: int
    score: float
    weights: LayerWeights


class BestWeights(keras.callbacks.Callback):
    """Score validation before the first and after every epoch, and hold the weights of the start and of the best epoch.

    Args:
        model: the network in training, built and with its start weights.
        validation: images to score.
        loss: as `cross_entropy` returns it.
        batch_size: images at once.
    """

    def __init__(self, model: keras.Model, validation: TrainingImages, loss: Any, batch_size: int) -> None:
        super().__init__()
        self._validation = validation
        self._masks = label_masks(validation.labels, validation.findings)
        self._loss = loss
        self._batch_size = batch_size
        self._network = model
        self._rows: list[dict[str, float]] = []
        self._logits: list[npt.NDArray[np.float32]] = []
        self._start = self._best = self._score(0, float("nan"))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Score the epoch that has ended; Keras calls this, and counts from 0."""
        scored = self._score(epoch + 1, (logs or {}).get("loss", float("nan")))
        if scored.score > self._best.score:
            self._best = scored

    def chosen(self) -> FineTuned:
        """Choose between the start and the best epoch."""
        gain = (0.0, 0.0)
        if self._best.epoch:
            best, start = self._logits[self._best.epoch], self._logits[0]
            found = mean_auroc_gain(self._masks, best, start, self._validation.patients)
            gain = (float(found.value), float(found.error))
        kept = gain[0] > gain[1]
        choice = self._best if kept else self._start
        curve = pd.DataFrame(self._rows).assign(kept=[int(row["epoch"] == choice.epoch) for row in self._rows])
        return FineTuned(choice.weights, curve, self._best.epoch, gain, kept, tuple(self._logits))

    def _score(self, epoch: int, loss: float) -> "_Epoch":
        logits = self._predict()
        diverged = not np.isfinite(logits).all()
        score = 0.0 if diverged else mean_auroc(self._masks, logits)
        validation_loss = float(tf.reduce_mean(self._loss(self._validation.labels, logits)))
        row = {"epoch": epoch, "loss": loss, "validation_loss": validation_loss, "validation_mean_auroc": score}
        self._rows.append(row)
        logging.getLogger(__name__).info("epoch %d: validation mean AUROC %.4f", epoch, score)
        self._logits.append(logits)
        return _Epoch(epoch, score, get_weights(self._network))

    def _predict(self) -> npt.NDArray[np.float32]:
        """Compute the validation logits, N × k, as the mean over the prediction views."""
        count = len(self._validation.labels)
        parts = []
        for start in range(0, count, self._batch_size):
            part = np.arange(start, min(start + self._batch_size, count))
            loaded = [self._validation.load(part, np.full(len(part), view)) for view in range(PREDICTION_VIEWS)]
            by_view = [self._network.predict_on_batch(tuple(x.astype(np.float32) for x in each)) for each in loaded]
            parts.append(np.mean(by_view, axis=0))
        return np.concatenate(parts).astype(np.float32)
