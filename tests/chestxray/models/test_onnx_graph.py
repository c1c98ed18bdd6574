"""The ONNX graph computes what the Keras network computes, and its maps are Grad-CAM."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from chestxray.findings import FINDINGS
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.keras_model import classifier, set_weights, trainable_part
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import classifier_graph
from chestxray.models.pretrained_config import KERAS, TORCHVISION, PretrainedConfig
from chestxray.models.weights import HEAD
from chestxray.params import BackboneParams
from tests.chestxray.conftest import TINY, TINY_CONFIG, lively_weights

IMAGES = np.random.default_rng(0).integers(256, size=(5, 72, 72, 1), dtype=np.uint8)

TAPS = {("last",): 2, ("last", "block_13_expand_relu"): 4, ("block_3_depthwise_relu", "block_6_expand_relu", "last"): 8}
"""Cells along a side of the maps of 64 pixels, by taps; in any order."""


def onnx_model(weights: LayerWeights, config: PretrainedConfig = TINY_CONFIG) -> OnnxModel:
    return OnnxModel(classifier_graph(weights, config, 72, FINDINGS).SerializeToString())


@pytest.mark.parametrize("published", [TORCHVISION, KERAS])
@pytest.mark.parametrize("alpha", [0.35, 1.0])
@pytest.mark.parametrize(("taps", "cells"), TAPS.items())
def test_onnx_computes_what_keras_computes(
    published: PretrainedConfig, alpha: float, taps: tuple[str, ...], cells: int
) -> None:
    config = replace(published, alpha=alpha, input_size=64, tap_names=taps)
    weights = lively_weights(BackboneParams(weights="random", alpha=alpha, input_size=64, seed=5), taps)
    model = classifier(config, 72, 14)
    set_weights(model, weights)
    expected = model.predict(IMAGES, verbose=0)
    logits, maps, _ = onnx_model(weights, config).outputs(IMAGES)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps, expected["maps"], rtol=1e-4, atol=1e-3)
    assert maps.shape == (5, cells, cells, 14) and expected["logits"].std() > 0.01


@pytest.mark.parametrize("taps", TAPS)
def test_maps_add_up_to_the_logits(taps: tuple[str, ...]) -> None:
    model = onnx_model(lively_weights(TINY, taps), replace(TINY_CONFIG, tap_names=taps))
    logits, maps, _ = model.outputs(IMAGES)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + model.bias, logits, rtol=1e-4, atol=1e-5)
    assert (model.size, model.input_size) == (72, 64)


def test_the_prediction_does_not_know_left_from_right_but_the_maps_do(tiny_weights: LayerWeights) -> None:
    model = onnx_model(tiny_weights)
    logits, maps, _ = model.outputs(IMAGES)
    mirrored_logits, mirrored_maps, _ = model.outputs(np.ascontiguousarray(IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(mirrored_logits, logits, atol=1e-4)
    np.testing.assert_allclose(mirrored_maps[:, :, ::-1], maps, atol=1e-4)


def test_only_the_centre_is_seen(tiny_weights: LayerWeights) -> None:
    painted = IMAGES.copy()
    painted[:, :4] = 0
    painted[:, -4:] = 255
    painted[:, :, :4] = 99
    painted[:, :, -4:] = 1
    np.testing.assert_array_equal(onnx_model(tiny_weights).logits(painted), onnx_model(tiny_weights).logits(IMAGES))


def test_maps_are_grad_cam() -> None:
    """Selvaraju et al., equations 1 and 2, before the rectifier, by automatic differentiation."""
    config = TINY_CONFIG.with_last_tap_alone()
    tiny_weights = lively_weights(TINY, config.tap_names)
    single = trainable_part(config, "input", 14)
    set_weights(single, tiny_weights)
    last = keras.Model(single.input, [single.get_layer("Conv_1_relu").output, single.output])
    crop = IMAGES[:, 4:68, 4:68].astype(np.float32)

    def grad_cam(views: np.ndarray, finding: int) -> np.ndarray:
        with tf.GradientTape() as tape:
            activations, logits = last((views,))
            tape.watch(activations)
            # The head again, so that the tape sees the way from the activations to the logit.
            kernel, bias = tiny_weights[HEAD]
            logit = tf.reduce_mean(activations, axis=(1, 2)) @ kernel[:, finding : finding + 1] + bias[finding]
        np.testing.assert_allclose(logit[:, 0], logits[:, finding], rtol=1e-3, atol=1e-4)
        importance = tf.reduce_mean(tape.gradient(logit, activations), axis=(1, 2), keepdims=True)
        cells = activations.shape[1] * activations.shape[2]
        return np.asarray(tf.reduce_sum(importance * activations, axis=-1)) * cells

    _, maps, _ = onnx_model(tiny_weights, config).outputs(IMAGES)
    for finding in (0, 5, 13):
        straight = grad_cam(crop, finding)
        mirrored = grad_cam(crop[:, :, ::-1], finding)
        np.testing.assert_allclose(maps[..., finding], (straight + mirrored[:, :, ::-1]) / 2, rtol=1e-4, atol=1e-4)


def test_same_weights_same_bytes_in_any_process() -> None:
    script = (
        "import hashlib\n"
        "from tests.chestxray.conftest import TINY, TINY_CONFIG, lively_weights\n"
        "from chestxray.findings import FINDINGS\n"
        "from chestxray.models.onnx_graph import classifier_graph\n"
        "graph = classifier_graph(lively_weights(TINY), TINY_CONFIG, 72, FINDINGS)\n"
        "print(hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest())\n"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    graph = classifier_graph(lively_weights(TINY), TINY_CONFIG, 72, FINDINGS)
    assert hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest() == other.stdout.split()[-1]
