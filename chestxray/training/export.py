"""From the trained Keras network to `model.onnx`, which must say the same."""

from itertools import islice
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.keras_model import classifier, set_weights
from chestxray.models.mobilenet_v2 import Convention, LayerWeights
from chestxray.models.onnx_graph import classifier_graph
from chestxray.models.weights import HEAD
from chestxray.params import BackboneParams
from chestxray.system.files import atomic_write

PARITY_IMAGES = 256
TOLERANCE = 1e-4
IMAGES_AT_ONCE = 8
"""More is no faster and takes more memory (2 GB at 32, 0.9 at 8)."""


class ParityError(UserError):
    """ONNX Runtime and Keras disagree, or the maps don't add up to the logits."""


def export_classifier(
    weights: LayerWeights, convention: Convention, backbone: BackboneParams, images: Dataset, size: int, out: Path
) -> None:
    """Writes the ONNX model after holding it against Keras on 256 images.

    Args:
        weights: of the whole network, head included.
        images: to compare on; noise fills up what is missing to 256.
        size: side of the prepared images.
        out: the file.

    Raises:
        ParityError: probabilities differ by more than 1e-4, or mean(map) + bias differs from the logit by more than
            1e-4 of it.
    """
    graph = classifier_graph(weights, HEAD, backbone.alpha, convention, size, backbone.input_size)
    content = graph.SerializeToString(deterministic=True)
    model = classifier(backbone.alpha, convention, size, backbone.input_size)
    set_weights(model, weights)
    network = OnnxModel(content)
    for chunk in _chunks(images, size):
        _check(network, model, chunk, weights[HEAD][1])
    with atomic_write(out) as partial:
        partial.write_bytes(content)


def _check(network: OnnxModel, model: keras.Model, chunk: npt.NDArray[np.uint8], bias: npt.NDArray[np.float32]) -> None:
    logits, maps = network.logits_and_maps(chunk)
    expected = np.asarray(model.predict_on_batch(chunk)["logits"])
    apart = float(np.abs(_sigmoid(logits) - _sigmoid(expected)).max())
    if not apart <= TOLERANCE:
        raise ParityError(f"ONNX and Keras probabilities differ by {apart:.2e}, more than {TOLERANCE}: not exported")
    gap = np.abs(maps.mean(axis=(1, 2)) + bias - logits) / np.maximum(np.abs(logits), 1.0)
    if not gap.max() <= TOLERANCE:
        raise ParityError(f"mean(map) + bias misses the logit by {gap.max():.2e} of it: not exported")


def _chunks(images: Dataset, size: int) -> list[npt.NDArray[np.uint8]]:
    chunks = list(islice(images.chunks(IMAGES_AT_ONCE), PARITY_IMAGES // IMAGES_AT_ONCE))
    missing = PARITY_IMAGES - sum(map(len, chunks))
    noise = np.random.default_rng(0).integers(256, size=(max(0, missing), size, size, 1), dtype=np.uint8)
    return [*chunks, *(noise[start : start + IMAGES_AT_ONCE] for start in range(0, len(noise), IMAGES_AT_ONCE))]


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))
