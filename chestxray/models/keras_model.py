"""Build the Keras networks: MobileNetV2 from any block to any other, and the classifier with its maps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from chestxray.models.mobilenet_v2 import Block, Convolution, LayerWeights, blocks_between, taps_before
from chestxray.models.pretrained_config import PretrainedConfig
from chestxray.models.tensorflow import keras
from chestxray.models.weights import HEAD


def backbone(config: PretrainedConfig, start: str = "input", stop: str | None = None) -> keras.Model:
    """Build MobileNetV2, or the part of it from block `start` up to block `stop`.

    Args:
        config: of the weights; its input size S is that of the whole network, also when `start` lies deeper.
        start: "input" takes raw grey pixels, float or uint8 0–255, N × S × S × 1; a block's name takes its input.
        stop: None goes to the last activations, N × S/32 × S/32 × 1280 at alpha 1.

    Raises:
        ValueError: no block has that name.
    """
    prefix = blocks_between(config.alpha, "input", start)
    size = config.input_size
    inputs = keras.Input(_output_shape(prefix, size) if prefix else (size, size, 1))
    x = inputs if prefix else normalise(inputs, config)
    for block in blocks_between(config.alpha, start, stop):
        x = _apply(block, x, config)
    return keras.Model(inputs, x, name="backbone")


def normalise(pixels: Any, config: PretrainedConfig) -> Any:
    """Convert raw grey pixels 0–255, N × H × W × 1, to the three normalised channels that the weights expect."""
    x = keras.ops.cast(pixels, "float32") / 255.0
    return (x - np.array(config.mean, np.float32)) / np.array(config.std, np.float32)


def classifier(config: PretrainedConfig, size: int, findings: int) -> keras.Model:
    """Build the whole model: prepared image to logits and maps, both the mean over the image and its mirror image.

    The head is linear on globally averaged activations A of the taps, so that Grad-CAM is CAM (Selvaraju et al., ICCV
    2017, section 3): map_c = Σ_k w_kc A_k, enlarged to the cells of the finest tap and added up over the taps, and
    logit_c = mean(map_c) + b_c.

    Args:
        config: of the backbone.
        size: side of the prepared image; the network sees its central `config.input_size` square.
        findings: their number k.

    Returns:
        uint8 N × S × S × 1 → {"logits": float32 N × k, "maps": float32 N × h × w × k}.
    """
    pixels = keras.Input((size, size, 1), dtype="uint8")
    offset = (size - config.input_size) // 2
    seen = slice(offset, offset + config.input_size)
    crop = pixels[:, seen, seen, :]
    body = backbone(config)
    tapped = keras.Model(body.input, [body.get_layer(tap.layer).output for tap in config.taps], name="tapped")
    head = FindingsHead(findings, name=HEAD)
    logits, maps = head(tapped(crop))
    mirror_logits, mirror_maps = head(tapped(keras.ops.flip(crop, axis=2)))
    means = {"logits": (logits + mirror_logits) / 2.0, "maps": (maps + keras.ops.flip(mirror_maps, axis=2)) / 2.0}
    return keras.Model(pixels, means, name="classifier")


class FixedBatchNormalization(keras.layers.BatchNormalization):
    """Normalise in inference mode even inside `fit`; scale and shift can be trained.

    On small batches of one modality ImageNet's statistics serve better than the batch's. `training=False` in the call
    is not enough: Keras 3's functional models overrule it.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise by the stored statistics."""
        return super().call(inputs, training=False, mask=mask)


class FindingsHead(keras.layers.Layer):
    """Apply a Dense layer to the activations of all taps and then global average pooling, in this order.

    Its weights are those of `keras.layers.Dense(findings)` on the averages of the taps, one after the other. A coarser
    tap's maps are enlarged to the cells of the finest (bilinear, half pixels, edges clamped), which keeps their mean.
    """

    def __init__(self, findings: int, name: str) -> None:
        super().__init__(name=name)
        self.findings = findings

    def build(self, input_shapes: list[tuple[int, ...]]) -> None:
        """Make kernel and bias."""
        self.kernel = self.add_weight(shape=(sum(shape[-1] for shape in input_shapes), self.findings), name="kernel")
        self.bias = self.add_weight(shape=(self.findings,), initializer="zeros", name="bias")

    def call(self, taps: list[Any]) -> tuple[Any, Any]:
        """Compute logits N × k and maps N × h × w × k of the activations of each tap, N × h_t × w_t × K_t."""
        ends = np.cumsum([tap.shape[-1] for tap in taps])
        parts = [
            keras.ops.matmul(tap, self.kernel[end - tap.shape[-1] : end]) for tap, end in zip(taps, ends, strict=True)
        ]
        cells = max(tuple(part.shape[1:3]) for part in parts)
        maps = sum(keras.ops.image.resize(part, cells, interpolation="bilinear") for part in parts)
        return keras.ops.mean(maps, axis=(1, 2)) + self.bias, maps


def trainable_part(config: PretrainedConfig, start: str, findings: int) -> keras.Model:
    """Build the network from the input of block `start` to the logits of a single view, layers named as in `backbone`.

    Its inputs are a tuple: that of the block and, where taps lie before it, their averages, one after the other.

    Args:
        config: of the backbone.
        start: a block's name, or "input", as in `backbone`.
        findings: their number k.

    Returns:
        (N × the input shape of `start`,) or (the same, N × c) → float32 N × k.
    """
    body = backbone(config, start)
    before = taps_before(config.alpha, config.taps, start)
    inputs = (body.input, keras.Input((sum(tap.channels for tap in before),))) if before else (body.input,)
    outputs = [body.get_layer(tap.layer).output for tap in config.taps[len(before) :]]
    averages = [*inputs[1:], *(keras.layers.GlobalAveragePooling2D(dtype="float32")(output) for output in outputs)]
    features = keras.ops.concatenate(averages, axis=-1)
    return keras.Model(inputs, keras.layers.Dense(findings, name=HEAD, dtype="float32")(features))


def get_weights(model: keras.Model) -> LayerWeights:
    """Return the arrays of every layer that has weights, by its name, those of nested models included."""
    found: LayerWeights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= get_weights(layer)
        elif layer.weights:
            found[layer.name] = [np.asarray(array) for array in layer.get_weights()]
    return found


def set_weights(model: keras.Model, weights: LayerWeights) -> None:
    """Set every layer that has weights from `weights`, by name.

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


def _apply(block: Block, x: Any, config: PretrainedConfig) -> Any:
    out = x
    for convolution in block.convolutions:
        out = _convolve(convolution, out, config)
    return keras.layers.Add(name=f"{block.name}_add")([x, out]) if block.residual else out


def _convolve(convolution: Convolution, x: Any, config: PretrainedConfig) -> Any:
    padding = "same"
    if convolution.stride == 2 and config.symmetric_padding:
        padding = "valid"
        x = keras.layers.ZeroPadding2D(1, name=f"{convolution.name}_pad")(x)
    layer: Callable[..., Any] = keras.layers.DepthwiseConv2D
    if not convolution.depthwise:
        layer = partial(keras.layers.Conv2D, convolution.filters)
    x = layer(
        kernel_size=convolution.kernel,
        strides=convolution.stride,
        padding=padding,
        use_bias=False,
        name=convolution.name,
    )(x)
    x = FixedBatchNormalization(epsilon=config.epsilon, name=convolution.batch_norm)(x)
    return keras.layers.ReLU(6.0, name=f"{convolution.name}_relu")(x) if convolution.relu6 else x
