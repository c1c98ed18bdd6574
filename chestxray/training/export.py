"""Export the trained network to ONNX after comparing its outputs with Keras's."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.gate_weights import GateWeights
from chestxray.models.keras_model import classifier, set_weights
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import classifier_graph
from chestxray.models.pretrained_config import PretrainedConfig
from chestxray.models.tensorflow import keras
from chestxray.system.files import atomic_write
from chestxray.training.usual_maps import usual_maps

PARITY_IMAGES = 256
TOLERANCE = 1e-4


class ParityError(UserError):
    """ONNX Runtime and Keras disagree, or the maps don't add up to the logits; no model was written."""


def export_classifier(
    weights: LayerWeights,
    config: PretrainedConfig,
    images: Dataset,
    size: int,
    out: Path,
    gate: GateWeights | None = None,
) -> None:
    """Write the ONNX model, its maps less those usual in training, after comparing it with Keras on 256 images.

    Args:
        weights: of the whole network, head included.
        config: of the backbone.
        images: to compare on, the first 256; random pixels make up for missing ones. Their findings are the head's, and
            those to train on say what maps are usual.
        size: side of the prepared images in pixels.
        out: the file to write.
        gate: to write into it; None for a model without one.

    Raises:
        ParityError: probabilities differ by more than 1e-4, or mean(map) + bias differs from the logit by more than
            1e-4 of the larger of 1 and the logit.
    """
    plain = classifier_graph(weights, config, size, images.findings).SerializeToString(deterministic=True)
    usual = usual_maps(OnnxModel(plain), images.split("train"))
    graph = classifier_graph(weights, config, size, images.findings, gate, usual)
    content = graph.SerializeToString(deterministic=True)
    keras_model = classifier(config, size, len(images.findings))
    set_weights(keras_model, weights)
    onnx_model = OnnxModel(content)
    for image in _parity_images(images, size):
        _check_parity(onnx_model, keras_model, image)
    with atomic_write(out) as partial:
        partial.write_bytes(content)


def _check_parity(onnx_model: OnnxModel, keras_model: keras.Model, image: npt.NDArray[np.uint8]) -> None:
    logits, maps, _ = onnx_model.outputs(image)
    expected = np.asarray(keras_model.predict_on_batch(image)["logits"])
    difference = float(np.abs(_sigmoid(logits) - _sigmoid(expected)).max())
    if not difference <= TOLERANCE:  # NaN included
        raise ParityError(
            f"ONNX and Keras probabilities differ by {difference:.2e}, more than {TOLERANCE}: not exported"
        )
    gap = np.abs(maps.mean(axis=(1, 2)) + np.array(onnx_model.bias) - logits) / np.maximum(np.abs(logits), 1.0)
    if not gap.max() <= TOLERANCE:
        raise ParityError(f"mean(map) + bias misses the logit by {gap.max():.2e} of it: not exported")


def _parity_images(images: Dataset, size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield 256 images, each uint8 1 × S × S × 1: those of the data set first, then random pixels."""
    yield from islice(images.chunks(1), PARITY_IMAGES)
    rng = np.random.default_rng(0)
    for _ in range(PARITY_IMAGES - len(images.studies)):
        yield rng.integers(256, size=(1, size, size, 1), dtype=np.uint8)


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))
