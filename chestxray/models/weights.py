"""Read and write weights of MobileNetV2 and of the head in Keras's `.weights.h5` layout, without Keras."""

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from chestxray.errors import UserError
from chestxray.models.mobilenet_v2 import LAST, LayerWeights, find_taps, kernels
from chestxray.system.files import atomic_write

HEAD = "findings"
"""Name of the layer on the averages of all taps, in the order of the network: Dense(k) for k findings."""


class WeightsError(UserError):
    """The weights can't be fetched or don't fit; the message says what was tried and what to do."""


def read_weights(path: Path, alpha: float, findings: int = 0, taps: tuple[str, ...] = (LAST,)) -> LayerWeights:
    """Read a `.weights.h5` file, of this project or of a Keras model whose layers are named as MobileNetV2's.

    Args:
        path: the file.
        alpha: width of the architecture.
        findings: how many the head has that is to be read too; 0 reads none.
        taps: names of the layers that the head sees.

    Returns:
        float32 arrays of the layers of the architecture only.

    Raises:
        WeightsError: no such file, or of another architecture.
    """
    shapes = _shapes(alpha, findings, taps)
    try:
        with h5py.File(path) as file:
            layers = {group["vars"].attrs.get("name"): group["vars"] for group in file["layers"].values()}
            return {name: _arrays(name, layers[name], expected) for name, expected in shapes.items()}
    except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:  # no HDF5, no such layer, another kind
        head = f", with a head of {findings} findings on {' and '.join(taps)}" if findings else ""
        what = f"MobileNetV2 at alpha {alpha}{head}"
        raise WeightsError(f"{path} doesn't hold weights of {what}: {error}") from error


def _arrays(name: str, layer: h5py.Group, shapes: list[tuple[int, ...]]) -> list[npt.NDArray[np.float32]]:
    """Return the arrays of a layer after checking them; a link out of the file is not followed."""
    given = [layer[str(place)] for place in range(len(shapes))]
    if [array.shape for array in given] != shapes:
        raise ValueError(f"{name} has arrays of shape {[array.shape for array in given]}, expected {shapes}")
    if any(array.file != layer.file or array.external for array in given):
        raise ValueError(f"{name} lies in another file")
    arrays = [np.asarray(array, np.float32) for array in given]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(f"{name} has weights that are not finite")
    return arrays


def write_weights(weights: LayerWeights, path: Path) -> None:
    """Write a `.weights.h5` file, whole or not at all; the same weights give the same bytes."""
    with atomic_write(path) as partial, h5py.File(partial, "w") as file:
        for name, arrays in sorted(weights.items()):
            group = file.create_group(f"layers/{name}/vars")
            group.attrs["name"] = name
            for place, array in enumerate(arrays):
                group.create_dataset(str(place), data=np.asarray(array, np.float32))


def _shapes(alpha: float, findings: int, taps: tuple[str, ...]) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the arrays of each layer, in the order of `LayerWeights`."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for convolution, kernel in kernels(alpha):
        shapes[convolution.name] = [kernel]
        shapes[convolution.batch_norm] = [(convolution.filters,)] * 4
    if findings:
        channels = sum(tap.channels for tap in find_taps(alpha, taps))
        shapes[HEAD] = [(channels, findings), (findings,)]
    return shapes
