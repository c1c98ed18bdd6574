"""Take the network of a bundle out of `model.onnx`, for loops in other libraries, which look at a single view."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.inference.bundle import MODEL
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.mobilenet_v2 import find_taps, kernels
from chestxray.models.onnx_graph import USUAL_MAPS
from chestxray.models.pretrained_config import TORCHVISION

Arrays = dict[str, npt.NDArray[Any]]


def single_view(bundle: Path, films: list[bytes]) -> Arrays:
    """Take the network out of a bundle, without heatmaps and gate; its backbone must be torchvision's, at width 1.

    Args:
        bundle: its folder.
        films: radiographs, of which images are made to compare logits on.

    Returns:
        `kernel_0` and `bias_0`, `kernel_1` …: float32 out × in × h × w and out, the convolutions in the order of the
        network, with the batch normalisation folded in. `taps`: places of those that the head sees behind their ReLU.
        `head_kernel`, `head_bias`: float32 F × k and k. `mean`, `std`: of the input in 0–1. `sides`: of the prepared
        image, and of its centre that the network sees. `images`: uint8 N × S × S, each its own mirror image, so that
        both views of the bundle are the same. `logits`: that the bundle gives them, float32 N × k.

    Raises:
        KeyError: another backbone.
    """
    graph = onnx.load(bundle / MODEL).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [convolution.name for convolution, _ in kernels(TORCHVISION.alpha)]
    arrays: Arrays = {}
    for place, name in enumerate(convolutions):
        arrays[f"kernel_{place}"], arrays[f"bias_{place}"] = constants[f"{name}_kernel"], constants[f"{name}_bias"]
    heads = {name.removeprefix("head_"): array for name, array in constants.items() if name.startswith("head_")}
    taps = [tap.layer for tap in find_taps(TORCHVISION.alpha, heads)]
    model = OnnxModel(bundle / MODEL)
    usual = constants[USUAL_MAPS].mean(axis=(0, 2, 3)) if USUAL_MAPS in constants else np.float32(0)
    images = np.stack([_symmetric(resize(decode(film).pixels, model.size)) for film in films])
    return arrays | {
        "taps": np.array([convolutions.index(tap.removesuffix("_relu")) for tap in taps]),
        "head_kernel": np.concatenate([heads[tap][:, :, 0, 0].T for tap in taps]),
        "head_bias": constants["bias"] - usual,
        "mean": np.array(TORCHVISION.mean, np.float32),
        "std": np.array(TORCHVISION.std, np.float32),
        "sides": np.array([model.size, model.input_size]),
        "images": images,
        "logits": model.logits(images[..., None]),
    }


def _symmetric(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    left = pixels[:, : pixels.shape[1] // 2]
    return np.concatenate([left, left[:, ::-1]], axis=1)
