"""Three ways to a classifier on the same images: the plain one, two views and the head alone, the default recipe.

Patients are dealt to folds; each fold is tested once, by models that saw the others. A seventh of the others' patients
are kept from all training, for early stopping and for the choice between head and fine-tuned network.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from benchmarks.plain import Plain
from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_fold
from chestxray.evaluation.logits import predict_logits
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.mobilenet_v2 import Convention, LayerWeights, convention_of
from chestxray.models.onnx_graph import classifier_graph, features_graph
from chestxray.models.weights import HEAD
from chestxray.params import Params
from chestxray.training.class_weights import class_weights, weight_array
from chestxray.training.features import Features, load_features, write_features
from chestxray.training.fine_tuning import cached_images, fine_tune
from chestxray.training.linear_head import fit_head

HELD_BACK = 7

Scores = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


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

    @property
    def convention(self) -> Convention:
        """What the weights take for granted."""
        return convention_of(self.params.backbone.weights)

    def features(
        self, dataset: Dataset, count: int, activations_at: str | None, what: str
    ) -> tuple[Features, Features]:
        """Features of training and validation images, timed."""
        out, backbone = self.scratch / what, self.params.backbone
        params = self.params.features.model_copy(update={"views": count})
        with self.watch(what):
            graph = features_graph(self.weights, backbone.alpha, self.convention, backbone.input_size, activations_at)
            content = graph.SerializeToString()
            write_features(dataset, content, backbone.input_size, params, out, self.scratch / "partial")
        train, validation = (load_features([out], dataset.studies, split) for split in ("train", "validation"))
        return train, validation

    def head(self, train: Features, what: str) -> LayerWeights:
        """The backbone's weights with a trained head, timed."""
        with self.watch(what):
            rows = class_weights(train.labels, self.params.class_weighting)
            head = fit_head(train, weight_array(rows), self.params.train)
        return self.weights | {HEAD: [head.weights[:-1], head.weights[-1]]}

    def tune(self, train: Features, validation: Features, start: LayerWeights, what: str) -> LayerWeights:
        """The network after fine-tuning on cached activations, timed."""
        weights = weight_array(class_weights(train.labels, self.params.class_weighting))
        examples = cached_images(train), cached_images(validation)
        with self.watch(what):
            tuned = fine_tune(*examples, start, weights, self.convention, self.params.backbone, self.params.fine_tune)
        return start | tuned.weights

    def logits(self, weights: LayerWeights, images: Dataset) -> Single:
        """Of the finished model."""
        size, backbone = self.params.prepare.size, self.params.backbone
        graph = classifier_graph(weights, HEAD, backbone.alpha, self.convention, size, backbone.input_size)
        return predict_logits(OnnxModel(graph.SerializeToString()), images, "predicting")


def sample(dataset: Dataset, studies: int) -> Dataset:
    """Whole patients, in the order of a hash of their ids, until there are `studies` images (or no more patients)."""
    patients = dataset.studies["patient"]
    draws = patients.map(lambda patient: hashlib.sha256(f"benchmark:{patient}".encode()).hexdigest())
    sizes = draws.value_counts().sort_index()
    drawn = sizes.index[sizes.cumsum().shift(fill_value=0) < studies]
    return Dataset(dataset.studies[draws.isin(drawn)].reset_index(drop=True), dataset.images)


def deal(dataset: Dataset, fold: int, folds: int) -> Dataset:
    """The data set with the patients of `fold` as test and a seventh of the others as validation."""
    patients = dataset.studies["patient"]
    test = patients.map(lambda patient: patient_fold(patient, folds) == fold)
    back = patients.map(lambda patient: patient_fold(f"held back {patient}", HELD_BACK) == 0)
    splits = np.where(test, "test", np.where(back, "validation", "train"))
    return Dataset(dataset.studies.assign(split=splits), dataset.images)


def compare_recipes(bench: Bench, folds: list[Dataset]) -> dict[str, Scores]:
    """Trains the three ways on every fold.

    Returns:
        By way, the scores of the test studies of all folds one after the other, N × 14: ranks within their fold, since
        logits of different models can't be compared.
    """
    # Plain first: `fine_tune` switches TensorFlow to deterministic operators for the rest of the process, and in that
    # state the plain way takes twice as long.
    plain = [_plain(bench, fold) for fold in folds]
    ours = [_ours(bench, fold) for fold in folds]
    logits = [{"plain": first, **second} for first, second in zip(plain, ours, strict=True)]
    ways = logits[0].keys()
    return {way: np.concatenate([rankdata(fold[way], axis=0) / len(fold[way]) for fold in logits]) for way in ways}


def _plain(bench: Bench, fold: Dataset) -> Single:
    train, test = fold.split("train"), fold.split("test")
    plain = Plain(bench.weights, bench.params.backbone)
    with bench.watch("plain"):
        plain.fit([bench.files[image] for image in train.studies["image"]], train.labels)
    return plain.logits([bench.files[image] for image in test.studies["image"]])


def _ours(bench: Bench, fold: Dataset) -> dict[str, Single]:
    test, params = fold.split("test"), bench.params
    two_train, _ = bench.features(fold, 2, None, "two views: features")
    two = bench.head(two_train, "two views: head")
    every, from_layer = params.features.views, params.fine_tune.from_layer
    train, validation = bench.features(fold, every, from_layer, "default: features")
    head = bench.head(train, "default: head")
    tuned = bench.tune(train, validation, head, "default: fine-tuning")
    return {"two views": bench.logits(two, test), "default": bench.logits(tuned, test)}
