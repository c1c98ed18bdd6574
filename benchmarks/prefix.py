"""Time an epoch of fine-tuning from cached activations against one that recomputes the frozen layers."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.recipes import Bench
from chestxray.datasets.dataset import Dataset
from chestxray.models.keras_model import backbone, set_weights, trainable_part
from chestxray.models.weights import HEAD
from chestxray.training.features import Features

ROUNDS = 4

Indices = npt.NDArray[np.intp]
Load = Callable[[Indices], npt.NDArray[Any]]


def compare_prefix(bench: Bench, dataset: Dataset) -> dict[str, float]:
    """Measure the seconds of an epoch, the best of four; both ways take turns, so that they share noise.

    The first epoch of each, in which TensorFlow traces, is not counted.

    Returns:
        "cached" and "recomputed", and "caching": what the activations of one view cost, once.
    """
    start = bench.params.fine_tune.from_layer
    what = "prefix: features"
    features, _ = bench.features(dataset, 2, start, what)
    prefix = backbone(bench.config, stop=start)
    findings = len(dataset.findings)
    rest = trainable_part(bench.config.with_last_tap_alone(), start, findings)
    set_weights(prefix, bench.weights)
    head = [np.zeros(shape, np.float32) for shape in ((bench.config.taps[-1].channels, findings), (findings,))]
    set_weights(rest, bench.weights | {HEAD: head})
    prefix.trainable = False
    whole = keras.Model(prefix.input, rest(prefix.output))
    train = dataset.split("train")
    ways = {
        "cached": _epoch(bench, rest, partial(_activations, features), train.labels),
        "recomputed": _epoch(bench, whole, partial(_crops, train, bench.config.input_size), train.labels),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(1 + ROUNDS):
        for way, epoch in ways.items():
            started = time.monotonic()
            epoch()
            seconds[way].append(time.monotonic() - started)
    best = {way: min(times[1:]) for way, times in seconds.items()}
    return best | {"caching": bench.watch.seconds[what] / 2}


def _activations(features: Features, part: Indices) -> npt.NDArray[np.float16]:
    return features.view_activations(part, np.zeros_like(part))


def _crops(images: Dataset, size: int, part: Indices) -> npt.NDArray[np.uint8]:
    pixels = np.stack([images.pixels(index) for index in part])[..., None]
    offset = (pixels.shape[1] - size) // 2
    return pixels[:, offset : offset + size, offset : offset + size]


def _epoch(bench: Bench, model: keras.Model, load: Load, labels: npt.NDArray[np.int8]) -> Callable[[], None]:
    """Compile the model, and return a function that trains it for an epoch."""
    params = bench.params.fine_tune
    every = np.arange(len(labels))

    def batches() -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int8]]]:
        for start in range(0, len(labels), params.batch_size):
            part = every[start : start + params.batch_size]
            yield load(part), labels[part]

    inputs = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    signature = (inputs, tf.TensorSpec((None, labels.shape[1]), tf.float32))
    steps = -(-len(labels) // params.batch_size)
    data = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
    data = data.apply(tf.data.experimental.assert_cardinality(steps))
    model.compile(keras.optimizers.AdamW(params.learning_rate), keras.losses.BinaryCrossentropy(from_logits=True))

    def epoch() -> None:
        model.fit(data, epochs=1, shuffle=False, verbose=0)

    return epoch
