"""A model is exported only if it computes what Keras computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from chestxray.datasets.dataset import Dataset
from chestxray.inference.bundle import MODEL
from chestxray.inference.onnx_model import Outputs
from chestxray.models.keras_model import classifier
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.weights import HEAD
from chestxray.training import export as module
from chestxray.training.export import PARITY_IMAGES, ParityError, export_classifier
from tests.chestxray.conftest import SIZE, TINY_CONFIG


@pytest.fixture(autouse=True)
def _one_keras_network(monkeypatch: pytest.MonkeyPatch, keras_network: keras.Model) -> None:
    monkeypatch.setattr(module, "classifier", lambda *_: keras_network)


@pytest.fixture(scope="module")
def keras_network() -> keras.Model:
    """Built once: its weights are set anew for each export."""
    return classifier(TINY_CONFIG, SIZE, 14)


def export(weights: LayerWeights, dataset: Dataset, folder: Path) -> None:
    export_classifier(weights, TINY_CONFIG, dataset, SIZE, folder / MODEL)


def changed(initializer: str, change: Callable[[np.ndarray], np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the exported graph hold another constant than the network."""
    real = module.classifier_graph

    def other(*arguments: Any) -> onnx.ModelProto:
        graph = real(*arguments)
        (tensor,) = (constant for constant in graph.graph.initializer if constant.name == initializer)
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), initializer))
        return graph

    monkeypatch.setattr(module, "classifier_graph", other)


def test_the_same_model_is_the_same_bytes(
    dataset: Dataset, tiny_weights: LayerWeights, bundle_folder: Path, tmp_path: Path
) -> None:
    export(tiny_weights, dataset, tmp_path / "new" / "folder")
    written = tmp_path / "new" / "folder"
    assert [file.name for file in written.iterdir()] == [MODEL]
    assert (written / MODEL).read_bytes() == (bundle_folder / MODEL).read_bytes()


def test_it_is_held_against_keras_on_256_images_the_data_first(dataset: Dataset) -> None:
    compared = np.concatenate(list(module._parity_images(dataset, SIZE)))
    assert len(compared) == PARITY_IMAGES == 256
    np.testing.assert_array_equal(compared[:60, ..., 0], dataset.images["b"])
    repeated = dataset.studies.loc[np.tile(dataset.studies.index, 5)].reset_index(drop=True)
    many = Dataset(repeated, dataset.images)
    assert len(list(module._parity_images(many, SIZE))) == 256


@pytest.mark.parametrize(
    ("initializer", "change"),
    [
        ("bias", lambda bias: bias + np.float32(0.01)),
        ("Conv1_kernel", lambda kernel: kernel * np.float32(1.05)),
        ("block_16_project_kernel", lambda kernel: -kernel),
        ("head_Conv_1_relu", lambda kernel: kernel * np.float32(np.nan)),
        ("half", lambda half: half * np.float32(2)),
    ],
)
def test_a_graph_that_disagrees_with_keras_is_not_exported(
    initializer: str,
    change: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    tiny_weights: LayerWeights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / MODEL).write_bytes(b"the model of before")
    changed(initializer, change, monkeypatch)
    with pytest.raises(ParityError, match="not exported"):
        export(tiny_weights, dataset, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [MODEL]
    assert (tmp_path / MODEL).read_bytes() == b"the model of before"


def test_maps_that_do_not_add_up_are_not_exported(
    dataset: Dataset, tiny_weights: LayerWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.OnnxModel.outputs

    def shifted(network: module.OnnxModel, images: np.ndarray) -> Outputs:
        outputs = real(network, images)
        return outputs._replace(maps=outputs.maps + np.float32(0.01))

    monkeypatch.setattr(module.OnnxModel, "outputs", shifted)
    with pytest.raises(ParityError, match=r"mean\(map\) \+ bias misses the logit"):
        export(tiny_weights, dataset, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_diverged_weights_are_not_exported(dataset: Dataset, tiny_weights: LayerWeights, tmp_path: Path) -> None:
    kernel, bias = tiny_weights[HEAD]
    with pytest.raises(ParityError):
        export(tiny_weights | {HEAD: [kernel, bias * np.float32(np.nan)]}, dataset, tmp_path)
    assert list(tmp_path.iterdir()) == []
