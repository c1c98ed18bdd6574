"""Write MobileNetV2 as an ONNX graph straight from its weights, so that the same weights give the same bytes.

Batch normalisation is folded into the convolutions. See docs/decisions/onnx-export.md.
"""

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from chestxray.models.gate_weights import SMALLEST_ENERGY, GateWeights
from chestxray.models.mobilenet_v2 import Block, Convolution, LayerWeights, blocks_between
from chestxray.models.pretrained_config import PretrainedConfig
from chestxray.models.weights import HEAD

OPSET = 21
IR_VERSION = 10
USUAL_MAPS = "usual_maps"


class _Graph:
    """Collect nodes and constants; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """Add an array that is stored in the file."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add an ONNX operator on outputs added before."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def slice(self, x: str, output: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Add `x[start:stop:step]` along an axis."""
        bounds = {"starts": start, "ends": stop, "axes": axis, "steps": step}
        names = [self.constant(f"{output}_{key}", np.array([value], np.int64)) for key, value in bounds.items()]
        return self.node("Slice", [x, *names], output)

    def mirror(self, x: str, output: str, axis: int) -> str:
        """Add `x` reversed along an axis."""
        return self.slice(x, output, axis, -1, np.iinfo(np.int64).min, -1)


def features_graph(weights: LayerWeights, config: PretrainedConfig, activations_at: str | None) -> onnx.ModelProto:
    """Return the frozen network, for views of the size that it sees.

    Args:
        weights: of the backbone.
        config: of these weights.
        activations_at: block before which activations are an output too; None for none.

    Returns:
        `view` uint8 N × S × S × 1 → `pooled` float32 N × F, the averages of the taps in the order of the network, and
        `activations` float32 N × h × w × c.
    """
    graph = _Graph()
    outputs = [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["N", None])]
    x = _add_prefix(graph, weights, config, activations_at)
    if activations_at is not None:
        outputs.append(_add_activations(graph, x))
        x = _add_blocks(graph, blocks_between(config.alpha, activations_at), weights, config, x)
    averages = [graph.node("GlobalAveragePool", [tap.layer], f"{tap.layer}_average") for tap in config.taps]
    graph.node("Flatten", [graph.node("Concat", averages, "averages", axis=1)], "pooled")
    return _make_model(graph, "features", ("view", config.input_size), outputs)


def prefix_graph(weights: LayerWeights, config: PretrainedConfig, until: str) -> onnx.ModelProto:
    """Return the frozen layers before a block: `view` uint8 N × S × S × 1 → `activations` float32 N × h × w × c."""
    graph = _Graph()
    activations = _add_activations(graph, _add_prefix(graph, weights, config, until))
    return _make_model(graph, "prefix", ("view", config.input_size), [activations])


def classifier_graph(
    weights: LayerWeights,
    config: PretrainedConfig,
    size: int,
    findings: Sequence[str],
    gate: GateWeights | None = None,
    usual: npt.NDArray[np.float32] | None = None,
) -> onnx.ModelProto:
    """Return the whole model, as `keras_model.classifier` defines it, its maps less what is usual.

    Args:
        weights: of the backbone and of the head.
        config: of the backbone.
        size: side of the prepared image; the network sees its central `config.input_size` square.
        findings: names of the k columns of the head.
        gate: on the pooled features of the last layer; None for a model without one.
        usual: what is taken off the maps, h × w × k; its mean is added to the bias. None takes nothing off.

    Returns:
        `image` uint8 N × S × S × 1 → `logits` float32 N × k, `maps` float32 N × h × w × k; both are the mean over
        the image and its mirror image, and mean(map) + bias = logit. With a gate also `gate` float32 N × G, its scores
        of the mean features of both. The model's metadata holds, as JSON, `findings`, `input_size`, `bias`, and
        `input_gate`, the names and the thresholds of the scores.

    Raises:
        ValueError: the head has another number of columns.
    """
    graph = _Graph()
    columns = weights[HEAD][0].shape[1]
    if columns != len(findings):
        raise ValueError(f"the head has {columns} columns, for {len(findings)} findings")
    normalised = _normalise(graph, _add_views(graph, size, config.input_size), config)
    x = _add_blocks(graph, blocks_between(config.alpha, "input"), weights, config, normalised)
    mean = _add_mean_of_views(graph, _add_maps(graph, weights[HEAD][0], config))
    bias = weights[HEAD][1]
    if usual is not None:
        mean = graph.node("Sub", [mean, graph.constant(USUAL_MAPS, usual.transpose(2, 0, 1)[None])], "unusual")
        bias = bias + usual.mean(axis=(0, 1))
    graph.node("Transpose", [mean], "maps", perm=[0, 2, 3, 1])
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [mean], "pool")], "pooled")
    graph.node("Add", [pooled, graph.constant("bias", bias)], "logits")
    cells = config.input_size // min(tap.stride for tap in config.taps)
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", columns]),
        helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", cells, cells, columns]),
    ]
    facts: dict[str, object] = {
        "findings": list(findings),
        "input_size": config.input_size,
        "bias": bias.astype(float).tolist(),
    }
    if gate is not None:
        _add_gate(graph, x, gate)
        outputs.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, ["N", len(gate.names)]))
        facts["input_gate"] = [gate.names, gate.thresholds.astype(float).tolist()]
    model = _make_model(graph, "classifier", ("image", size), outputs)
    helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
    return model


def _add_prefix(graph: _Graph, weights: LayerWeights, config: PretrainedConfig, until: str | None) -> str:
    """Add the blocks before one, or all, that see a `view`."""
    normalised = _normalise(graph, graph.node("Identity", ["view"], "pixels"), config)
    return _add_blocks(graph, blocks_between(config.alpha, "input", until), weights, config, normalised)


def _add_activations(graph: _Graph, x: str) -> onnx.ValueInfoProto:
    """Add the output `activations`, channels last."""
    graph.node("Transpose", [x], "activations", perm=[0, 2, 3, 1])
    return helper.make_tensor_value_info("activations", TensorProto.FLOAT, ["N", None, None, None])


def _add_views(graph: _Graph, size: int, input_size: int) -> str:
    """Add the central square of the images, and behind it that of their mirror images, along the first axis."""
    offset = (size - input_size) // 2
    rows = graph.slice("image", "rows", 1, offset, offset + input_size)
    crop = graph.slice(rows, "crop", 2, offset, offset + input_size)
    return graph.node("Concat", [crop, graph.mirror(crop, "crop_mirrored", 2)], "both", axis=0)


def _add_mean_of_views(graph: _Graph, maps: str) -> str:
    """Add the mean of the maps of images and those of their mirror images, turned back."""
    graph.nodes.append(helper.make_node("Split", [maps], ["straight", "mirrored"], "split", axis=0, num_outputs=2))
    total = graph.node("Add", ["straight", graph.mirror("mirrored", "unmirrored", 3)], "total")
    return graph.node("Mul", [total, graph.constant("half", np.array(0.5, np.float32))], "mean")


def _add_maps(graph: _Graph, kernel: npt.NDArray[np.float32], config: PretrainedConfig) -> str:
    """Add the maps of all taps, each enlarged to the cells of the finest, which keeps its mean, and added up."""
    finest = min(tap.stride for tap in config.taps)
    total = ""
    start = 0
    for tap in config.taps:
        rows = kernel[start : start + tap.channels]
        start += tap.channels
        maps = graph.node(
            "Conv", [tap.layer, graph.constant(f"head_{tap.layer}", rows.T[:, :, None, None])], f"{tap.layer}_maps"
        )
        if tap.stride > finest:
            scales = graph.constant(f"{tap.layer}_scales", np.array([1, 1, *[tap.stride / finest] * 2], np.float32))
            maps = graph.node("Resize", [maps, "", scales], f"{tap.layer}_enlarged", mode="linear")
        total = graph.node("Add", [total, maps], f"{tap.layer}_total") if total else maps
    return total


def _add_gate(graph: _Graph, activations: str, gate: GateWeights) -> None:
    """Add the scores of the gate, as `GateWeights.scores` computes them, from the activations of both views."""
    pool = graph.node("Flatten", [graph.node("GlobalAveragePool", [activations], "gate_pool")], "gate_both")
    graph.nodes.append(
        helper.make_node("Split", [pool], ["gate_straight", "gate_mirrored"], "gate_split", axis=0, num_outputs=2)
    )
    total = graph.node("Add", ["gate_straight", "gate_mirrored"], "gate_total")
    scale = graph.constant("gate_scale", 0.5 / gate.deviation)
    shift = graph.constant("gate_shift", -gate.mean / gate.deviation)
    x = graph.node("Add", [graph.node("Mul", [total, scale], "gate_scaled"), shift], "gate_x")
    z = graph.node("MatMul", [x, graph.constant("gate_components", gate.components)], "gate_z")
    axis = graph.constant("gate_axis", np.array([1], np.int64))
    # Σ (z / spread)² / K, as a sum of squares.
    inverse = graph.constant("gate_inverse", 1.0 / (gate.spread * np.sqrt(np.float32(len(gate.spread)))))
    inside = graph.node("ReduceSumSquare", [graph.node("Mul", [z, inverse], "gate_relative"), axis], "gate_inside")
    energies = [graph.node("ReduceSumSquare", [name, axis], f"{name}_energy") for name in (x, z)]
    floor = graph.constant("gate_floor", np.array(SMALLEST_ENERGY, np.float32))
    beyond = graph.node("Max", [graph.node("Sub", energies, "gate_difference"), floor], "gate_beyond")
    residual = graph.constant("gate_residual", np.array(1.0 / gate.residual, np.float32))
    outside = graph.node("Mul", [beyond, residual], "gate_outside")
    distance = graph.node("Log", [graph.node("Add", [inside, outside], "gate_sum")], "gate_distance")
    odds = graph.node("MatMul", [x, graph.constant("gate_odds", gate.odds)], "gate_odds_linear")
    odds = graph.node("Add", [odds, graph.constant("gate_odds_bias", gate.odds_bias)], "gate_log_odds")
    graph.node("Concat", [distance, odds], "gate", axis=1)


def _make_model(
    graph: _Graph, name: str, image: tuple[str, int], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Make and check the model of a graph whose input is an `image`, given by its name and side."""
    input_name, size = image
    inputs = [helper.make_tensor_value_info(input_name, TensorProto.UINT8, ["N", size, size, 1])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, name, inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="chestxray",
    )
    onnx.checker.check_model(model)
    return model


def _normalise(graph: _Graph, pixels: str, config: PretrainedConfig) -> str:
    """Convert uint8 NHWC with one channel to float NCHW with three: (x / 255 − mean) / std."""
    mean = np.array(config.mean, np.float64)
    std = np.array(config.std, np.float64)
    scale = graph.constant("scale", (1 / (255 * std)).astype(np.float32).reshape(1, 3, 1, 1))
    offset = graph.constant("offset", (-mean / std).astype(np.float32).reshape(1, 3, 1, 1))
    planes = graph.node("Transpose", [pixels], "planes", perm=[0, 3, 1, 2])
    grey = graph.node("Cast", [planes], "grey", to=TensorProto.FLOAT)
    return graph.node("Add", [graph.node("Mul", [grey, scale], "scaled"), offset], "normalised")


def _add_blocks(
    graph: _Graph, blocks: tuple[Block, ...], weights: LayerWeights, config: PretrainedConfig, x: str
) -> str:
    for block in blocks:
        out = x
        for convolution in block.convolutions:
            out = _convolve(graph, convolution, weights, config, out)
        x = graph.node("Add", [x, out], f"{block.name}_add") if block.residual else out
    return x


def _convolve(graph: _Graph, convolution: Convolution, weights: LayerWeights, config: PretrainedConfig, x: str) -> str:
    name = convolution.name
    kernel, shift = _fold_batch_norm(convolution, weights, config.epsilon)
    pads = [0, 0, 0, 0]
    if convolution.kernel == 3:
        begin = 1 if convolution.stride == 1 or config.symmetric_padding else 0
        pads = [begin, begin, 1, 1]
    x = graph.node(
        "Conv",
        [x, graph.constant(f"{name}_kernel", kernel), graph.constant(f"{name}_bias", shift)],
        name,
        strides=[convolution.stride] * 2,
        pads=pads,
        group=len(kernel) if convolution.depthwise else 1,
    )
    if not convolution.relu6:
        return x
    bounds = [graph.constant(f"{name}_{key}", np.array(bound, np.float32)) for key, bound in (("low", 0), ("high", 6))]
    return graph.node("Clip", [x, *bounds], f"{name}_relu")


def _fold_batch_norm(
    convolution: Convolution, weights: LayerWeights, epsilon: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return kernel [out, in, h, w] and bias with the batch normalisation folded in: γ (x − μ) / √(σ² + ε) + β."""
    gamma, beta, mean, variance = (array.astype(np.float64) for array in weights[convolution.batch_norm])
    kernel = weights[convolution.name][0].transpose((2, 3, 0, 1) if convolution.depthwise else (3, 2, 0, 1))
    scale = gamma / np.sqrt(variance + epsilon)
    folded = kernel * scale[:, None, None, None]
    return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)
