"""Prepare the images of one data set once, for recipes that are trained on parts of them: see `benchmarks.quality`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from benchmarks.recipes import HELD_BACK, Stopwatch
from chestxray.datasets.batch import read_batch
from chestxray.datasets.dataset import BatchFolders, Dataset, load_boxes, load_dataset
from chestxray.datasets.decode import decode_batch
from chestxray.datasets.prepare import prepare_batch
from chestxray.datasets.split import patient_fold
from chestxray.evaluation.localization import Place, true_places
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import classifier_graph, features_graph
from chestxray.models.pretrained import load_weights
from chestxray.models.pretrained_config import PretrainedConfig, pretrained_config
from chestxray.params import HeadParams, Params
from chestxray.training.class_weights import class_weights, weight_array
from chestxray.training.features import Features, write_features
from chestxray.training.usual_maps import usual_maps

Rows = npt.NDArray[np.intp]
FINE, FINER, LAST = "block_13_expand_relu", "block_10_expand_relu", "last"
TAPS = (FINER, FINE, LAST)
"""Of all recipes, in the order of the network."""
MOST_VIEWS = 16
"""Of all recipes; those of the default one are the first of them."""


@dataclass(frozen=True)
class Deal:
    """Which images a model is trained on, chosen by and tested on: their rows among all images."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        weights: head included.
        config: what it is.
        whole: whether its prediction is the mean with that of the whole image, beside that of the centre.
    """

    weights: LayerWeights
    config: PretrainedConfig
    whole: bool = False


class Laboratory:
    """The images of one data set, and the outputs of the frozen layers for every view of every image, computed once.

    Args:
        root: of a batch in NIH layout.
        params: of the default recipe.
        scratch: a folder for prepared images and features.
    """

    def __init__(self, root: Path, params: Params, scratch: Path) -> None:
        self.params = params
        self.watch = Stopwatch()
        folders = BatchFolders("batch", scratch)
        with self.watch("prepare"):
            decode_batch(root, folders.decoded, params.prepare.size)
            prepare_batch(root, folders, params.prepare, params.vocabulary)
        dataset = load_dataset([folders])
        self.dataset = Dataset(dataset.studies.assign(split="train"), dataset.images)
        self._files = read_batch(root, params.vocabulary).paths
        self.boxes = load_boxes([folders])
        self.pretrained = load_weights(params.backbone)
        out = scratch / "features"
        graph = features_graph(self.pretrained, self.config(TAPS), params.fine_tune.from_layer).SerializeToString()
        with self.watch("features"):
            shown = params.features.model_copy(update={"views": max(MOST_VIEWS, params.features.views)})
            write_features(self.dataset, graph, params.backbone.input_size, shown, out, scratch / "partial")
        self._pooled = np.load(out / "train.pooled.npy", mmap_mode="r")
        self._activations = np.load(out / "train.activations.npy", mmap_mode="r")

    def config(self, taps: tuple[str, ...]) -> PretrainedConfig:
        """Return the network with a head on some taps."""
        return pretrained_config(self.params.backbone, HeadParams(taps=taps))

    def features(self, rows: Rows, taps: tuple[str, ...], views: int) -> Features:
        """Return the features of some images, of some taps and of the first views."""
        every = self.config(TAPS).taps
        ends = dict(zip((tap.layer for tap in every), np.cumsum([tap.channels for tap in every]), strict=True))
        columns = np.concatenate([np.arange(ends[t.layer] - t.channels, ends[t.layer]) for t in self.config(taps).taps])
        pooled = np.zeros((len(self._pooled), views, len(columns)), np.float16)
        pooled[rows] = self._pooled[rows][:, :views, columns]
        return Features([pooled], [self._activations], [rows], self.images(rows).studies)

    def images(self, rows: Rows) -> Dataset:
        """Return some of the images, in the order of the rows."""
        return Dataset(self.dataset.studies.iloc[rows].reset_index(drop=True), self.dataset.images)

    def class_weights(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Return the weights of positive labels among some images."""
        counted = class_weights(self.dataset.labels[rows], self.dataset.findings, self.params.class_weighting)
        return weight_array(counted, self.dataset.findings)

    def model(self, network: Network, train: Rows) -> OnnxModel:
        """Export a network as the pipeline does, its maps less what is usual among these rows."""
        plain = OnnxModel(self.graph(network).SerializeToString())
        if not self.places:  # nobody looks at the maps
            return plain
        return OnnxModel(self.graph(network, usual_maps(plain, self.images(train))).SerializeToString())

    def graph(self, network: Network, usual: npt.NDArray[np.float32] | None = None) -> onnx.ModelProto:
        """Return a network as ONNX, its maps less `usual`, h × w × k."""
        facts = (network.weights, network.config, self.params.prepare.size, self.dataset.findings)
        return classifier_graph(*facts, None, usual)

    def pixels(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Return prepared images, m × S × S × 1."""
        return np.stack([self.dataset.pixels(int(row)) for row in rows])[..., None]

    def whole(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Return prepared images, made so small that the network sees all of them: m × S × S × 1."""
        seen = self.params.backbone.input_size
        edge, rest = divmod(self.params.prepare.size - seen, 2)
        small = [cv2.resize(image, (seen, seen), interpolation=cv2.INTER_AREA) for image in self.pixels(rows)]
        padded = [np.pad(image, (edge, edge + rest), mode="edge") for image in small]
        return np.stack(padded)[..., None]

    def paths(self, rows: Rows) -> list[Path]:
        """Return the files of some images."""
        return [self._files[image] for image in self.dataset.studies["image"].iloc[rows]]

    @cached_property
    def places(self) -> list[Place]:
        """The boxes."""
        return true_places(self.dataset, self.boxes, self.params.prepare.size, self.params.backbone.input_size)


def deals(lab: Laboratory, seeds: int, folds: int, opened: bool) -> list[list[Deal]]:
    """Deal the patients: to folds, by seed; or, opened, train on all but the third set aside and test on it."""

    def drawn(salt: str, count: int) -> npt.NDArray[np.intp]:
        return np.array([patient_fold(f"{salt} {patient}", count) for patient in lab.dataset.patients])

    aside, held = drawn("set aside", 3) == 0, drawn("held back", HELD_BACK) == 0
    found = []
    for seed in range(seeds):
        fold = drawn(f"fold {seed}", folds)
        tests = [aside] if opened else [~aside & (fold == place) for place in range(folds)]
        found.append([
            Deal(*(np.flatnonzero(rows) for rows in (~aside & ~test & ~held, ~aside & ~test & held, test)))
            for test in tests
        ])  # fmt: skip
    return found
