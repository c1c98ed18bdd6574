"""Keras and ONNX build the same network, and its maps are Grad-CAM."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import onnxruntime as ort
import pytest
import tensorflow as tf

from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.keras_model import backbone, classifier, get_weights, set_weights, trainable_part
from chestxray.models.mobilenet_v2 import KERAS, TORCHVISION, Convention, LayerWeights, blocks_between
from chestxray.models.onnx_graph import classifier_graph, features_graph
from chestxray.models.weights import HEAD
from chestxray.params import BackboneParams
from tests.chestxray.conftest import TINY, lively_weights

IMAGES = np.random.default_rng(0).integers(256, size=(5, 72, 72, 1), dtype=np.uint8)


def network(weights: LayerWeights, convention: Convention = TORCHVISION, alpha: float = TINY.alpha) -> OnnxModel:
    return OnnxModel(classifier_graph(weights, HEAD, alpha, convention, 72, 64).SerializeToString())


@pytest.mark.parametrize("convention", [TORCHVISION, KERAS])
@pytest.mark.parametrize("alpha", [0.35, 1.0])
def test_onnx_says_what_keras_says(convention: Convention, alpha: float) -> None:
    weights = lively_weights(BackboneParams(weights="random", alpha=alpha, input_size=64, seed=5))
    model = classifier(alpha, convention, 72, 64)
    set_weights(model, weights)
    expected = model.predict(IMAGES, verbose=0)
    logits, maps = network(weights, convention, alpha).logits_and_maps(IMAGES)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps, expected["maps"], rtol=1e-4, atol=1e-3)
    assert maps.shape == (5, 2, 2, 14) and expected["logits"].std() > 0.01


def test_maps_add_up_to_the_logits(tiny_weights: LayerWeights) -> None:
    net = network(tiny_weights)
    logits, maps = net.logits_and_maps(IMAGES)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + net.bias, logits, rtol=1e-4, atol=1e-5)
    assert (net.size, net.input_size) == (72, 64)


def test_the_prediction_does_not_know_left_from_right_but_the_maps_do(tiny_weights: LayerWeights) -> None:
    net = network(tiny_weights)
    logits, maps = net.logits_and_maps(IMAGES)
    mirrored_logits, mirrored_maps = net.logits_and_maps(np.ascontiguousarray(IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(mirrored_logits, logits, atol=1e-4)
    np.testing.assert_allclose(mirrored_maps[:, :, ::-1], maps, atol=1e-4)


def test_only_the_centre_is_seen(tiny_weights: LayerWeights) -> None:
    painted = IMAGES.copy()
    painted[:, :4], painted[:, -4:], painted[:, :, :4], painted[:, :, -4:] = 0, 255, 99, 1
    np.testing.assert_array_equal(network(tiny_weights).logits(painted), network(tiny_weights).logits(IMAGES))


def test_maps_are_grad_cam(tiny_weights: LayerWeights) -> None:
    """Selvaraju et al., equations 1 and 2, before the rectifier, by automatic differentiation."""
    single = trainable_part(TINY.alpha, TORCHVISION, 64, "input")
    set_weights(single, tiny_weights)
    last = keras.Model(single.input, [single.get_layer("Conv_1_relu").output, single.output])
    crop = IMAGES[:, 4:68, 4:68].astype(np.float32)

    def grad_cam(views: np.ndarray, finding: int) -> np.ndarray:
        with tf.GradientTape() as tape:
            activations, logits = last(views)
            tape.watch(activations)
            # The head again, so that the tape sees the way from the activations to the logit.
            kernel, bias = tiny_weights[HEAD]
            logit = tf.reduce_mean(activations, axis=(1, 2)) @ kernel[:, finding : finding + 1] + bias[finding]
        np.testing.assert_allclose(logit[:, 0], logits[:, finding], rtol=1e-3, atol=1e-4)
        importance = tf.reduce_mean(tape.gradient(logit, activations), axis=(1, 2), keepdims=True)
        cells = activations.shape[1] * activations.shape[2]
        return np.asarray(tf.reduce_sum(importance * activations, axis=-1)) * cells

    _, maps = network(tiny_weights).logits_and_maps(IMAGES)
    for finding in (0, 5, 13):
        straight, mirrored = grad_cam(crop, finding), grad_cam(crop[:, :, ::-1], finding)
        np.testing.assert_allclose(maps[..., finding], (straight + mirrored[:, :, ::-1]) / 2, rtol=1e-4, atol=1e-4)


def test_keras_convention_is_that_of_keras_applications() -> None:
    theirs = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, include_top=False, weights=None)
    ours = backbone(0.35, KERAS, 64)
    set_weights(theirs, lively_weights(TINY))
    set_weights(ours, get_weights(theirs))
    pixels = IMAGES[:, :64, :64]
    scaled = np.repeat(pixels, 3, axis=-1) / np.float32(127.5) - 1
    np.testing.assert_allclose(ours.predict(pixels, verbose=0), theirs.predict(scaled, verbose=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", ["expanded_conv", "block_1", "block_6", "block_13", "Conv_1"])
def test_a_prefix_and_its_rest_are_the_whole(block: str, tiny_weights: LayerWeights) -> None:
    whole = backbone(TINY.alpha, TORCHVISION, 64)
    prefix = backbone(TINY.alpha, TORCHVISION, 64, "input", block)
    rest = backbone(TINY.alpha, TORCHVISION, 64, block)
    for model in (whole, prefix, rest):
        set_weights(model, tiny_weights)
    pixels = IMAGES[:, :64, :64]
    expected, inner = whole.predict(pixels, verbose=0), prefix.predict(pixels, verbose=0)
    np.testing.assert_allclose(rest.predict(inner, verbose=0), expected, rtol=1e-4, atol=1e-4)
    graph = features_graph(tiny_weights, TINY.alpha, TORCHVISION, 64, block).SerializeToString()
    pooled, activations = ort.InferenceSession(graph).run(["pooled", "activations"], {"view": pixels})
    np.testing.assert_allclose(activations, inner, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(pooled, expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-3)


def test_an_unknown_block_is_said() -> None:
    with pytest.raises(ValueError, match="no block 'block_99'; it has input, Conv1"):
        blocks_between(1.0, "block_99")


def test_same_weights_same_bytes_in_any_process() -> None:
    script = (
        "import hashlib\n"
        "from tests.chestxray.conftest import TINY, lively_weights\n"
        "from chestxray.models.mobilenet_v2 import TORCHVISION\n"
        "from chestxray.models.onnx_graph import classifier_graph\n"
        "graph = classifier_graph(lively_weights(TINY), 'findings', TINY.alpha, TORCHVISION, 72, 64)\n"
        "print(hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest())\n"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()[
        -1
    ]
    graph = classifier_graph(lively_weights(TINY), HEAD, TINY.alpha, TORCHVISION, 72, 64)
    assert hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest() == other
