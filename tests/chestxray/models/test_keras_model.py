"""The Keras network is that of `keras.applications`, and can be cut between any two blocks."""

from dataclasses import replace

import keras
import numpy as np
import onnxruntime as ort
import pytest

from chestxray.models.keras_model import backbone, get_weights, set_weights
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import features_graph
from chestxray.models.pretrained_config import KERAS
from tests.chestxray.conftest import TINY, TINY_CONFIG, lively_weights

PIXELS = np.random.default_rng(0).integers(256, size=(5, 64, 64, 1), dtype=np.uint8)


def test_it_is_the_network_of_keras_applications() -> None:
    theirs = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, include_top=False, weights=None)
    ours = backbone(replace(KERAS, alpha=0.35, input_size=64))
    set_weights(theirs, lively_weights(TINY))
    set_weights(ours, get_weights(theirs))
    scaled = np.repeat(PIXELS, 3, axis=-1) / np.float32(127.5) - 1
    np.testing.assert_allclose(ours.predict(PIXELS, verbose=0), theirs.predict(scaled, verbose=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", ["expanded_conv", "block_1", "block_6", "block_13", "Conv_1"])
def test_a_prefix_and_its_rest_are_the_whole(block: str, tiny_weights: LayerWeights) -> None:
    whole = backbone(TINY_CONFIG)
    prefix = backbone(TINY_CONFIG, stop=block)
    rest = backbone(TINY_CONFIG, block)
    for model in (whole, prefix, rest):
        set_weights(model, tiny_weights)
    expected = whole.predict(PIXELS, verbose=0)
    inner = prefix.predict(PIXELS, verbose=0)
    np.testing.assert_allclose(rest.predict(inner, verbose=0), expected, rtol=1e-4, atol=1e-4)
    graph = features_graph(tiny_weights, TINY_CONFIG.with_last_tap_alone(), block).SerializeToString()
    pooled, activations = ort.InferenceSession(graph).run(["pooled", "activations"], {"view": PIXELS})
    np.testing.assert_allclose(activations, inner, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(pooled, expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-3)
