"""The Keras networks: MobileNetV2 from any block to any other, and the classifier with its maps."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from chestxray.findings import FINDINGS
from chestxray.models.mobilenet_v2 import Block, Convention, Convolution, LayerWeights, blocks_between
from chestxray.models.weights import HEAD


def backbone(
    alpha: float, convention: Convention, input_size: int, start: str = "input", stop: str | None = None
) -> keras.Model:
    """MobileNetV2, or the part of it from block `start` up to block `stop`.

    Args:
        alpha: width.
        convention: normalisation, padding and epsilon of the weights.
        input_size: side of the square input in pixels; also when `start` lies deeper.
        start: "input" takes raw grey pixels, float or uint8 0–255, N × S × S × 1; a block's name takes its input.
        stop: None goes to the last activations, N × S/32 × S/32 × 1280 at alpha 1.
    """
    prefix = blocks_between(alpha, "input", start)
    inputs = keras.Input(_output_shape(prefix, input_size) if prefix else (input_size, input_size, 1))
    x = inputs if prefix else normalise(inputs, convention)
    for block in blocks_between(alpha, start, stop):
        x = _apply(block, x, convention)
    return keras.Model(inputs, x, name="backbone")


def normalise(pixels: Any, convention: Convention) -> Any:
    """Raw grey pixels 0–255, N × H × W × 1, to the normalised three channels that the weights expect."""
    x = ops.cast(pixels, "float32") / 255.0
    return (x - np.array(convention.mean, np.float32)) / np.array(convention.std, np.float32)


def classifier(alpha: float, convention: Convention, size: int, input_size: int) -> keras.Model:
    """The whole model: prepared image to logits and maps, both the mean over the image and its mirror image.

    The head is linear on globally averaged activations A, so that Grad-CAM is CAM (Selvaraju et al., ICCV 2017,
    section 3): map_c = Σ_k w_kc A_k, and logit_c = mean(map_c) + b_c.

    Args:
        size: side of the prepared image; its central `input_size` square is seen.

    Returns:
        uint8 N × S × S × 1 → {"logits": float32 N × 14, "maps": float32 N × h × w × 14}.
    """
    pixels = keras.Input((size, size, 1), dtype="uint8")
    offset = (size - input_size) // 2
    crop = pixels[:, offset : offset + input_size, offset : offset + input_size, :]
    body = backbone(alpha, convention, input_size)
    head = FindingsHead(len(FINDINGS), name=HEAD)
    logits, maps = head(body(crop))
    mirror_logits, mirror_maps = head(body(ops.flip(crop, axis=2)))
    means = {"logits": (logits + mirror_logits) / 2.0, "maps": (maps + ops.flip(mirror_maps, axis=2)) / 2.0}
    return keras.Model(pixels, means, name="classifier")


class FixedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation in inference mode whatever `fit` asks for; its scale and shift can be trained.

    On small batches of one modality ImageNet's statistics serve better than the batch's. `training=False` in the call
    is not enough: Keras 3's functional models overrule it.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """As in inference."""
        return super().call(inputs, training=False, mask=mask)


class FindingsHead(keras.layers.Layer):
    """A Dense layer on globally averaged activations, with the pooling moved behind the product: map_c = A w_c.

    Its weights are those of `keras.layers.Dense(findings)`.
    """

    def __init__(self, findings: int, name: str) -> None:
        super().__init__(name=name)
        self.findings = findings

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes kernel and bias."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.findings), name="kernel")
        self.bias = self.add_weight(shape=(self.findings,), initializer="zeros", name="bias")

    def call(self, activations: Any) -> tuple[Any, Any]:
        """Activations N × h × w × K to logits N × 14 and maps N × h × w × 14."""
        maps = ops.matmul(activations, self.kernel)
        return ops.mean(maps, axis=(1, 2)) + self.bias, maps


def trainable_part(alpha: float, convention: Convention, input_size: int, start: str) -> keras.Model:
    """From the input of block `start` to the logits of a single view; its layers are named as in `backbone`."""
    body = backbone(alpha, convention, input_size, start)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(body.output)
    return keras.Model(body.input, keras.layers.Dense(len(FINDINGS), name=HEAD, dtype="float32")(pooled))


def get_weights(model: keras.Model) -> LayerWeights:
    """The arrays of every layer that has some, by its name; nested models are entered."""
    found: LayerWeights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= get_weights(layer)
        elif layer.weights:
            found[layer.name] = [np.asarray(array) for array in layer.get_weights()]
    return found


def set_weights(model: keras.Model, weights: LayerWeights) -> None:
    """Sets every layer that has weights from `weights`, by name.

    Raises:
        KeyError: a layer of the model is not in `weights`.
        ValueError: a shape differs.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            set_weights(layer, weights)
        elif layer.weights:
            layer.set_weights(weights[layer.name])


def _output_shape(prefix: tuple[Block, ...], input_size: int) -> tuple[int, int, int]:
    stride = int(np.prod([c.stride for block in prefix for c in block.convolutions]))
    return input_size // stride, input_size // stride, prefix[-1].convolutions[-1].filters


def _apply(block: Block, x: Any, convention: Convention) -> Any:
    out = x
    for convolution in block.convolutions:
        out = _convolve(convolution, out, convention)
    return keras.layers.Add(name=f"{block.name}_add")([x, out]) if block.residual else out


def _convolve(convolution: Convolution, x: Any, convention: Convention) -> Any:
    padding = "same"
    if convolution.stride == 2 and convention.symmetric_padding:
        x, padding = keras.layers.ZeroPadding2D(1, name=f"{convolution.name}_pad")(x), "valid"
    layer: Callable[..., Any] = keras.layers.DepthwiseConv2D
    arguments: dict[str, Any] = {"kernel_size": convolution.kernel}
    if not convolution.depthwise:
        layer, arguments = keras.layers.Conv2D, arguments | {"filters": convolution.filters}
    x = layer(**arguments, strides=convolution.stride, padding=padding, use_bias=False, name=convolution.name)(x)
    x = FixedBatchNormalization(epsilon=convention.epsilon, name=convolution.batch_norm)(x)
    return keras.layers.ReLU(6.0, name=f"{convolution.name}_relu")(x) if convolution.relu6 else x
