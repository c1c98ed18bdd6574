"""Describe MobileNetV2 as data, from which the Keras network and the ONNX graph are both built.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2. Blocks and
layers carry the names of `keras.applications.MobileNetV2`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LayerWeights = dict[str, list[npt.NDArray[np.float32]]]
"""Layer name → its arrays as Keras keeps them: convolution [h, w, in, out] (depthwise [h, w, in, 1]),
batch normalisation [gamma, beta, mean, variance], dense [in, out] and bias."""


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias, its batch normalisation, and, where `relu6`, min(max(x, 0), 6)."""

    name: str
    batch_norm: str
    kernel: int
    filters: int
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True


@dataclass(frozen=True)
class Block:
    """Convolutions one after the other; `residual` adds the block's input to its output."""

    name: str
    convolutions: tuple[Convolution, ...]
    residual: bool = False


LAST = "last"
"""The tap behind the last convolution."""


@dataclass(frozen=True)
class Tap:
    """A layer whose averaged activations the head sees.

    Attributes:
        layer: its name, `<convolution>_relu`.
        block: that it lies in.
        channels: of its activations.
        stride: pixels of the input a cell of it, along either side.
    """

    layer: str
    block: str
    channels: int
    stride: int


STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, filters, blocks, stride of the first: t, c, n, s of the paper's table 2."""


def blocks(alpha: float) -> tuple[Block, ...]:
    """Return the blocks of MobileNetV2 in order: `Conv1`, `expanded_conv`, `block_1` … `block_16`, `Conv_1`.

    Args:
        alpha: width multiplier of the filters (of the last convolution only above 1).
    """
    filters = _divisible(32 * alpha)
    result = [Block("Conv1", (Convolution("Conv1", "bn_Conv1", 3, filters, 2),))]
    number = 0
    for expansion, base, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            out = _divisible(base * alpha)
            stride = first_stride if repeat == 0 else 1
            name = f"block_{number}" if number else "expanded_conv"
            result.append(_inverted_residual(name, filters, out, expansion, stride))
            filters = out
            number += 1
    last = _divisible(1280 * alpha) if alpha > 1.0 else 1280
    return (*result, Block("Conv_1", (Convolution("Conv_1", "Conv_1_bn", 1, last),)))


def kernels(alpha: float) -> Iterator[tuple[Convolution, tuple[int, int, int, int]]]:
    """Yield each convolution and the shape of its kernel as Keras keeps it."""
    channels = 3
    for convolution in (convolution for block in blocks(alpha) for convolution in block.convolutions):
        side = convolution.kernel
        filters = convolution.filters
        yield convolution, (side, side, filters, 1) if convolution.depthwise else (side, side, channels, filters)
        channels = filters


def blocks_between(alpha: float, start: str, stop: str | None = None) -> tuple[Block, ...]:
    """Return the blocks from `start` (a block's name, or "input") up to, but without, `stop` (None: to the end).

    Raises:
        ValueError: no block has that name.
    """
    every = blocks(alpha)
    names = [block.name for block in every]
    for name in (start, stop):
        if name not in (*names, "input", None):
            raise ValueError(f"MobileNetV2 has no block {name!r}; it has input, {', '.join(names)}")
    first = 0 if start == "input" else names.index(start)
    return every[first : None if stop is None else 0 if stop == "input" else names.index(stop)]


def find_taps(alpha: float, names: Iterable[str]) -> tuple[Tap, ...]:
    """Return taps in the order of the network, whatever the order of their names.

    Args:
        alpha: width multiplier.
        names: of layers behind a ReLU, or `LAST`.

    Raises:
        ValueError: no such layer.
    """
    known: dict[str, Tap] = {}
    stride = 1
    for block in blocks(alpha):
        for convolution in block.convolutions:
            stride *= convolution.stride
            if convolution.relu6:
                layer = f"{convolution.name}_relu"
                known[layer] = Tap(layer, block.name, convolution.filters, stride)
    last = next(reversed(known))
    wanted = {last if name == LAST else name for name in names}
    if unknown := sorted(wanted - known.keys()):
        raise ValueError(f"MobileNetV2 has no layer {unknown[0]!r} to tap; it has {LAST}, {', '.join(known)}")
    return tuple(tap for layer, tap in known.items() if layer in wanted)


def taps_before(alpha: float, taps: tuple[Tap, ...], start: str) -> tuple[Tap, ...]:
    """Return the taps that lie before block `start`, or none before "input"."""
    before = {block.name for block in blocks_between(alpha, "input", start)}
    return tuple(tap for tap in taps if tap.block in before)


def _inverted_residual(name: str, inputs: int, outputs: int, expansion: int, stride: int) -> Block:
    wide = inputs * expansion
    expand = (Convolution(f"{name}_expand", f"{name}_expand_BN", 1, wide),) if expansion > 1 else ()
    depthwise = Convolution(f"{name}_depthwise", f"{name}_depthwise_BN", 3, wide, stride, depthwise=True)
    project = Convolution(f"{name}_project", f"{name}_project_BN", 1, outputs, relu6=False)
    return Block(name, (*expand, depthwise, project), residual=stride == 1 and inputs == outputs)


def _divisible(filters: float) -> int:
    """Round to a multiple of 8, by at most 10 % down, as the authors' code does."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8
