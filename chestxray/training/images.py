"""Load images as the trained layers take them: cached activations, activations computed anew, or pixels.

What the frozen layers make of an image is the same in every epoch, so it is cached where there is room for it. See
docs/decisions/feature-cache.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import Dataset, batch_folders
from chestxray.datasets.split import Split
from chestxray.findings import UNLABELLED
from chestxray.models.mobilenet_v2 import LayerWeights, taps_before
from chestxray.models.onnx_graph import prefix_graph
from chestxray.models.pretrained_config import PretrainedConfig, pretrained_config
from chestxray.params import FeaturesParams, Params
from chestxray.system.parallel import parallel_map
from chestxray.training.features import Features, Half, load_features, one_thread_session
from chestxray.training.views import views

Indices = npt.NDArray[np.intp]
Load = Callable[[Indices, Indices], tuple[npt.NDArray[Any], ...]]


@dataclass(frozen=True)
class TrainingImages:
    """Images in the form that the trained part takes, from cached activations or from pixels.

    Attributes:
        load: (m images, the view of each) → the inputs of `keras_model.trainable_part`, m × shape each.
        labels: int8, N × k, as `Dataset.labels` has them.
        findings: names of the k columns.
        patients: of each image, N.
        views: how many views an image has.
    """

    load: Load
    labels: npt.NDArray[np.int8]
    findings: tuple[str, ...]
    patients: npt.NDArray[np.str_]
    views: int

    def at(self, rows: Indices) -> "TrainingImages":
        """Return some of the images, by their numbers."""
        return replace(
            self,
            load=lambda indices, chosen: self.load(rows[indices], chosen),
            labels=self.labels[rows],
            patients=self.patients[rows],
        )

    def without_labels_of(self, findings: npt.NDArray[np.bool_]) -> "TrainingImages":
        """Return the images as if nobody had labelled some of the findings, k."""
        return replace(self, labels=np.where(findings, UNLABELLED, self.labels).astype(np.int8))


def training_images(images: Dataset, split: Split, weights: LayerWeights, params: Params) -> TrainingImages:
    """Return the images of a split as the layers that `params.fine_tune` trains take them.

    Args:
        images: all of the split, as the stages keep them.
        split: which side.
        weights: of the network, for what lies before those layers.
        params: the whole of `params.yaml`.
    """
    from_layer = params.fine_tune.from_layer
    if from_layer == "input":
        return decoded_images(images.split(split), params.backbone.input_size, params.features)
    config = pretrained_config(params.backbone, params.head)
    features = load_features([each.features for each in batch_folders(params.batches)], images.studies, split)
    if params.features.cache_activations:
        return cached_images(features, config, from_layer)
    prefix = prefix_graph(weights, config, from_layer).SerializeToString()
    return recomputed_images(features, images, prefix, config, from_layer, params.features)


def cached_images(features: Features, config: PretrainedConfig, from_layer: str) -> TrainingImages:
    """Return images that load as cached activations, float16 m × h × w × c, and averages of the taps before them."""
    return _frozen_images(features, features.view_activations, config, from_layer)


def recomputed_images(
    features: Features,
    images: Dataset,
    prefix: bytes,
    config: PretrainedConfig,
    from_layer: str,
    params: FeaturesParams,
) -> TrainingImages:
    """Return what `cached_images` returns, but for rounding; activations are computed whenever they are loaded.

    Args:
        features: of the images; their activations need not be there.
        images: the same ones, in the same order.
        prefix: the ONNX model of `onnx_graph.prefix_graph`.
        config: of the network.
        from_layer: block before which the prefix ends.
        params: the views.
    """
    load_views = decoded_images(images, config.input_size, params).load
    session = one_thread_session(prefix)

    def compute(image: tuple[np.intp, np.intp]) -> Half:
        (view,) = load_views(*(np.array([place]) for place in image))
        return np.asarray(session.run(None, {"view": view})[0][0], np.float16)

    def load(indices: Indices, chosen: Indices) -> Half:
        return np.stack(list(parallel_map(compute, zip(indices, chosen, strict=True), len(indices))))

    return _frozen_images(features, load, config, from_layer)


def decoded_images(images: Dataset, input_size: int, params: FeaturesParams) -> TrainingImages:
    """Return images that load as views of the prepared pixels, uint8 m × S × S × 1."""
    hashes = images.studies["content_hash"]

    def load(indices: Indices, chosen: Indices) -> tuple[npt.NDArray[np.uint8]]:
        pairs = zip(indices, chosen, strict=True)
        return (np.stack([views(images.pixels(i), input_size, v + 1, params, hashes.iloc[i])[v] for i, v in pairs]),)

    return TrainingImages(load, images.labels, images.findings, images.patients, params.views)


def _frozen_images(
    features: Features, load_activations: Callable[[Indices, Indices], Half], config: PretrainedConfig, from_layer: str
) -> TrainingImages:
    """Return images that load as activations, and averages of the taps before them where there are any."""
    before = sum(tap.channels for tap in taps_before(config.alpha, config.taps, from_layer))

    def load(indices: Indices, chosen: Indices) -> tuple[Half, ...]:
        activations = load_activations(indices, chosen)
        return (activations, features.view_averages(indices, chosen)[:, :before]) if before else (activations,)

    count = features.pooled[0].shape[1]
    return TrainingImages(load, features.labels, features.findings, features.patients, count)
