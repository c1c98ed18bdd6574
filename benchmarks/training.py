"""Ours against the plain way, on the same images in one run: `python -m benchmarks.training --data ROOT`.

Patients are dealt to two folds; each fold is tested once, by models that saw the other. A seventh of the other's
patients are kept from training for early stopping and the choice between head and fine-tuned network. Scores are
compared on the studies of both folds together, as ranks within their fold, since they come from different models.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from scipy.stats import rankdata

from benchmarks.machine import machine
from benchmarks.plain import Plain
from chestxray.backbone import load_weights
from chestxray.bundle import Network
from chestxray.class_weighting import class_weights, weight_array
from chestxray.dataset import Dataset, load_dataset
from chestxray.features import Features, load_features, write_features
from chestxray.head import fit_head
from chestxray.metrics import mean_auroc, paired_bootstrap
from chestxray.mobilenet import TORCHVISION, LayerWeights
from chestxray.network import HEAD, backbone, set_weights, trainable_part
from chestxray.nih import read_batch
from chestxray.onnx_graph import classifier_graph, features_graph
from chestxray.params import Params, load_params
from chestxray.preparation import prepare_batch
from chestxray.split import fold_of
from chestxray.training import Examples, cached_examples, fine_tune

FOLDS = 2
HELD_BACK = 7
ROUNDS = 3

Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Load = Callable[[Indices], npt.NDArray[Any]]


@dataclass
class Stopwatch:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Times a block; blocks of one name add up."""
        started = time.monotonic()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - started


@dataclass(frozen=True)
class Bench:
    """What all parts share: params, weights of the backbone, files of the images, a scratch folder, the watch."""

    params: Params
    weights: LayerWeights
    files: dict[str, Path]
    scratch: Path
    watch: Stopwatch

    def features(
        self, dataset: Dataset, count: int, activations_at: str | None, what: str
    ) -> tuple[Features, Features]:
        """Features of training and validation images, timed."""
        out, size = self.scratch / what, self.params.backbone.input_size
        params = self.params.features.model_copy(update={"views": count})
        with self.watch(what):
            graph = features_graph(self.weights, 1.0, TORCHVISION, size, activations_at).SerializeToString()
            write_features(dataset, graph, size, params, out, self.scratch / "partial")
        train, validation = (load_features([out], dataset.studies, side) for side in ("train", "validation"))
        return train, validation

    def head(self, train: Features, what: str) -> LayerWeights:
        """The backbone's weights with a trained head, timed."""
        with self.watch(what):
            rows = class_weights(train.truth, self.params.class_weighting)
            head = fit_head(train, weight_array(rows), self.params.train)
        return self.weights | {HEAD: [head.weights[:-1], head.weights[-1]]}

    def tune(self, train: Examples, validation: Examples, start: LayerWeights, what: str) -> LayerWeights:
        """The network after fine-tuning, timed."""
        weights = weight_array(class_weights(train.truth, self.params.class_weighting))
        params = self.params.backbone, self.params.fine_tune
        with self.watch(what):
            tuned = fine_tune(train, validation, start, weights, TORCHVISION, *params)
        return start | tuned.weights

    def logits(self, weights: LayerWeights, images: Dataset) -> npt.NDArray[np.float32]:
        """Of the finished model."""
        size, input_size = self.params.prepare.size, self.params.backbone.input_size
        graph = classifier_graph(weights, HEAD, 1.0, TORCHVISION, size, input_size)
        return Network(graph.SerializeToString()).logits_of(images.chunks(32))


def deal(dataset: Dataset, fold: int) -> Dataset:
    """The data set with the patients of `fold` as test and a seventh of the others as validation."""
    patients = dataset.studies["patient"]
    test = patients.map(lambda patient: fold_of(patient, FOLDS) == fold)
    back = patients.map(lambda patient: fold_of(f"held back {patient}", HELD_BACK) == 0)
    sides = np.where(test, "test", np.where(back, "validation", "train"))
    return Dataset(dataset.studies.assign(side=sides), dataset.images)


def compare_fold(bench: Bench, dataset: Dataset) -> dict[str, Scores]:
    """Trains the three ways on a fold; returns the ranks of its test studies, N × 14."""
    train, test = dataset.side("train"), dataset.side("test")
    plain = Plain(bench.weights, bench.params.backbone.input_size)
    with bench.watch("plain"):
        plain.fit([bench.files[image] for image in train.studies["image"]], train.truth)
    two_train, _ = bench.features(dataset, 2, None, "two views: features")
    two = bench.head(two_train, "two views: head")
    start = bench.params.fine_tune.from_layer
    all_train, all_validation = bench.features(dataset, bench.params.features.views, start, "default: features")
    head = bench.head(all_train, "default: head")
    examples = cached_examples(all_train), cached_examples(all_validation)
    tuned = bench.tune(*examples, head, "default: fine-tuning")
    logits = {
        "plain": plain.logits([bench.files[image] for image in test.studies["image"]]),
        "two views": bench.logits(two, test),
        "default": bench.logits(tuned, test),
    }
    return {way: rankdata(values, axis=0) / len(values) for way, values in logits.items()}


def compare_prefix(bench: Bench, dataset: Dataset) -> None:
    """Times the same fine-tuning by Keras `fit`, from cached activations and through the whole network."""
    start, size = bench.params.fine_tune.from_layer, bench.params.backbone.input_size
    features, _ = bench.features(dataset, 2, start, "prefix: features")
    images, offset = dataset.side("train"), (bench.params.prepare.size - size) // 2

    def crops(part: Indices) -> npt.NDArray[np.uint8]:
        square = slice(offset, offset + size)
        return np.stack([images.pixels(index)[square, square] for index in part])[..., None]

    prefix, rest = backbone(1.0, TORCHVISION, size, stop=start), trainable_part(1.0, TORCHVISION, size, start)
    set_weights(prefix, bench.weights)
    prefix.trainable = False
    whole = keras.Model(prefix.input, rest(prefix.output))
    _time_fit(bench, "prefix cached", rest, lambda part: features.rows(part, np.zeros_like(part)), images.truth)
    _time_fit(bench, "prefix recomputed", whole, crops, images.truth)


def _time_fit(
    bench: Bench,
    what: str,
    model: keras.Model,
    load: Callable[[Indices], npt.NDArray[Any]],
    truth: npt.NDArray[np.int8],
) -> None:
    params = bench.params.fine_tune
    batches = [np.arange(start, start + params.batch_size) for start in range(0, len(truth), params.batch_size)]
    batches = [part[part < len(truth)] for part in batches]

    def epoch() -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int8]]]:
        for part in batches:
            yield load(part), truth[part]

    signature = (tf.TensorSpec((None, *model.input_shape[1:]), tf.float32), tf.TensorSpec((None, 14), tf.float32))
    data = tf.data.Dataset.from_generator(epoch, output_signature=signature).prefetch(2)
    model.compile(keras.optimizers.AdamW(params.learning_rate), keras.losses.BinaryCrossentropy(from_logits=True))
    with bench.watch(what):
        model.fit(data, epochs=params.epochs, verbose=2)


def compare_decoding(root: Path, files: list[Path], params: Params, scratch: Path) -> dict[str, float]:
    """Milliseconds per image, best of three: `prepare` on all cores and on one, a bare loop of OpenCV on one."""

    def bare() -> None:
        for file in files:
            image = np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
            cv2.resize(image, (params.prepare.size, params.prepare.size), interpolation=cv2.INTER_AREA)

    def prepare(cores: int) -> None:
        with patch.object(os, "cpu_count", lambda: cores):
            prepare_batch(root, scratch / "decoded", params.prepare)

    cores = os.cpu_count() or 1
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[], None]] = {
        "all cores": lambda: prepare(cores), "one core": lambda: prepare(1), "bare OpenCV": bare,
    }  # fmt: skip
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.monotonic()
            way()
            best[name] = min(best[name], (time.monotonic() - started) / len(files) * 1000)
    return best


def report(
    spent: dict[str, float], ranks: dict[str, Scores], tested: Dataset, decoding: dict[str, float]
) -> list[dict[str, str]]:
    """The rows of the table."""
    wall = {way: sum(seconds for what, seconds in spent.items() if what.startswith(way)) for way in ranks}
    rows = [{"what": "plain", "seconds": f"{wall['plain']:.0f}", "ratio": "1", "mean AUROC": "", "difference": ""}]
    rows[0]["mean AUROC"] = f"{mean_auroc(tested.truth, ranks['plain']):.3f}"
    for way in ("two views", "default"):
        estimate = paired_bootstrap(tested.truth, ranks[way], ranks["plain"], tested.patients, resamples=2000, seed=0)
        rows.append(
            {
                "what": {"two views": "two views, head alone", "default": "default recipe"}[way],
                "seconds": f"{wall[way]:.0f}",
                "ratio": f"{wall['plain'] / wall[way]:.1f}",
                "mean AUROC": f"{mean_auroc(tested.truth, ranks[way]):.3f}",
                "difference": f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})",
            }
        )
    ratios = {
        "fine-tuning, cached against recomputed prefix": spent["prefix recomputed"] / spent["prefix cached"],
        "prepare, all cores against one": decoding["one core"] / decoding["all cores"],
        "prepare against a bare OpenCV loop on one core": decoding["bare OpenCV"] / decoding["all cores"],
    }
    return [*rows, *({"what": what, "ratio": f"{ratio:.2f}"} for what, ratio in ratios.items())]


def main() -> None:
    """Prints the table and the seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw/phantom"), help="a batch in NIH layout")
    parser.add_argument("--decode", type=Path, help="another batch, for the part that times decoding")
    options = parser.parse_args()
    params = load_params()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        prepare_batch(options.data, scratch / "batch", params.prepare)
        dataset = load_dataset([scratch / "batch"])
        bench = Bench(params, load_weights(params.backbone), read_batch(options.data).paths, scratch, Stopwatch())
        folds = [deal(dataset, fold) for fold in range(FOLDS)]
        scored = [compare_fold(bench, fold) for fold in folds]
        ranks = {way: np.concatenate([fold[way] for fold in scored]) for way in scored[0]}
        tested = Dataset(pd.concat([fold.side("test").studies for fold in folds], ignore_index=True), dataset.images)
        compare_prefix(bench, folds[0])
        decoded = options.decode or options.data
        decoding = compare_decoding(decoded, list(read_batch(decoded).paths.values()), params, scratch)
        rows = report(bench.watch.seconds, ranks, tested, decoding)
    print(f"{len(tested.studies)} studies of {len(set(tested.patients))} patients; {machine()}")
    print(pd.DataFrame(rows).fillna("").to_string(index=False))
    print(json.dumps({"seconds": bench.watch.seconds, "decoding_ms": decoding, "rows": rows}))


if __name__ == "__main__":
    main()
