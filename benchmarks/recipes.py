"""Train a classifier in three ways on the same images: plain, head alone on two views, default recipe.

Patients are dealt to folds; each fold is tested once, by models trained on the others. A seventh of the others'
patients are kept from all training, for early stopping and for the choice between head and fine-tuned network.
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
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import classifier_graph, features_graph
from chestxray.models.pretrained_config import PretrainedConfig, pretrained_config
from chestxray.models.weights import HEAD
from chestxray.params import Params
from chestxray.training.class_weights import class_weights, weight_array
from chestxray.training.features import Features, load_features, write_features
from chestxray.training.fine_tuning import fine_tune
from chestxray.training.images import cached_images
from chestxray.training.linear_head import fit_head

HELD_BACK = 7

Scores = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


@dataclass
class Stopwatch:
    """Seconds by the name of what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Time a block; blocks of one name add up."""
        started = time.monotonic()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - started


@dataclass(frozen=True)
class Bench:
    """Params, weights of the backbone, files of the images, a scratch folder and the watch, which all parts share."""

    params: Params
    weights: LayerWeights
    files: dict[str, Path]
    scratch: Path
    watch: Stopwatch

    @property
    def config(self) -> PretrainedConfig:
        """Of the weights."""
        return pretrained_config(self.params.backbone, self.params.head)

    def features(
        self, dataset: Dataset, count: int, activations_at: str | None, what: str
    ) -> tuple[Features, Features]:
        """Compute the features of training and validation images, timed."""
        out = self.scratch / what
        params = self.params.features.model_copy(update={"views": count})
        with self.watch(what):
            graph = features_graph(self.weights, self.config, activations_at).SerializeToString()
            write_features(dataset, graph, self.config.input_size, params, out, self.scratch / "partial")
        train, validation = (
            load_features([out], dataset.split(split).studies, split) for split in ("train", "validation")
        )
        return train, validation

    def head(self, train: Features, what: str) -> LayerWeights:
        """Train a head, timed; return its weights and those of the backbone."""
        with self.watch(what):
            rows = class_weights(train.labels, train.findings, self.params.class_weighting)
            head = fit_head(train, weight_array(rows, train.findings), self.params.train)
        return self.weights | {HEAD: [head.weights[:-1], head.weights[-1]]}

    def tune(self, train: Features, validation: Features, start: LayerWeights, what: str) -> LayerWeights:
        """Fine-tune on cached activations, timed; return the weights of the network."""
        rows = class_weights(train.labels, train.findings, self.params.class_weighting)
        weights = weight_array(rows, train.findings)
        start_at = self.params.fine_tune.from_layer
        images, chosen_by = (cached_images(features, self.config, start_at) for features in (train, validation))
        with self.watch(what):
            tuned = fine_tune(images, chosen_by, start, weights, self.config, self.params.fine_tune)
        return start | tuned.weights

    def logits(self, weights: LayerWeights, images: Dataset) -> Single:
        """Compute the logits of the finished model, float32 N × k."""
        graph = classifier_graph(weights, self.config, self.params.prepare.size, images.findings)
        return predict_logits(OnnxModel(graph.SerializeToString()), images, "predicting")


def sample(dataset: Dataset, studies: int) -> Dataset:
    """Draw whole patients in the order of a hash of their ids, until there are `studies` images or no more patients."""
    patients = dataset.studies["patient"]
    draws = patients.map(lambda patient: hashlib.sha256(f"benchmark:{patient}".encode()).hexdigest())
    sizes = draws.value_counts().sort_index()
    drawn = sizes.index[sizes.cumsum().shift(fill_value=0) < studies]
    return Dataset(dataset.studies[draws.isin(drawn)].reset_index(drop=True), dataset.images)


def deal(dataset: Dataset, fold: int, folds: int) -> Dataset:
    """Return the data set with the patients of `fold` as test and a seventh of the others as validation."""
    patients = dataset.studies["patient"]
    test = patients.map(lambda patient: patient_fold(patient, folds) == fold)
    back = patients.map(lambda patient: patient_fold(f"held back {patient}", HELD_BACK) == 0)
    splits = np.where(test, "test", np.where(back, "validation", "train"))
    return Dataset(dataset.studies.assign(split=splits), dataset.images)


def compare_recipes(bench: Bench, folds: list[Dataset]) -> dict[str, Scores]:
    """Train the three ways on every fold.

    Returns:
        By way, the scores of the test studies of all folds one after the other, N × k: ranks within their fold, since
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
    train = fold.split("train")
    test = fold.split("test")
    plain = Plain(bench.weights, bench.config, fold.findings)
    with bench.watch("plain"):
        plain.fit([bench.files[image] for image in train.studies["image"]], train.labels)
    return plain.logits([bench.files[image] for image in test.studies["image"]])


def _ours(bench: Bench, fold: Dataset) -> dict[str, Single]:
    test = fold.split("test")
    two_train, _ = bench.features(fold, 2, None, "two views: features")
    two = bench.head(two_train, "two views: head")
    from_layer = bench.params.fine_tune.from_layer
    train, validation = bench.features(fold, bench.params.features.views, from_layer, "default: features")
    head = bench.head(train, "default: head")
    tuned = bench.tune(train, validation, head, "default: fine-tuning")
    return {"two views": bench.logits(two, test), "default": bench.logits(tuned, test)}
