"""Maps are compared with those of training images without the finding; the logit stays what it was."""

import numpy as np
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.findings import FINDINGS, UNLABELLED
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import classifier_graph
from chestxray.training import usual_maps as module
from chestxray.training.usual_maps import usual_maps
from tests.chestxray.conftest import SIZE, TINY_CONFIG


@pytest.fixture(scope="module")
def plain(tiny_weights: LayerWeights) -> OnnxModel:
    return OnnxModel(classifier_graph(tiny_weights, TINY_CONFIG, SIZE, FINDINGS).SerializeToString())


def outputs(model: OnnxModel, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    logits, maps, _ = model.outputs(np.concatenate(list(data.chunks(64))))
    return logits, maps


def test_they_are_the_mean_over_the_images_labelled_without_the_finding(plain: OnnxModel, dataset: Dataset) -> None:
    train = dataset.split("train")
    studies = train.studies.copy()
    studies["Mass"] = [UNLABELLED] * 5 + studies["Mass"].tolist()[5:]
    studies["Edema"], studies["Hernia"] = 1, UNLABELLED
    found = usual_maps(plain, Dataset(studies, train.images))
    _, maps = outputs(plain, train)
    for place, finding in enumerate(FINDINGS):
        absent = (studies[finding] == 0).to_numpy()
        expected = maps[absent, ..., place].mean(axis=0) if absent.any() else np.zeros(maps.shape[1:3])
        np.testing.assert_allclose(found[..., place], expected, atol=1e-5)


def test_the_logits_stay_and_images_without_the_finding_have_no_heat_on_average(
    plain: OnnxModel, dataset: Dataset, tiny_weights: LayerWeights
) -> None:
    train = dataset.split("train")
    usual = usual_maps(plain, train)
    graph = classifier_graph(tiny_weights, TINY_CONFIG, SIZE, FINDINGS, None, usual)
    model = OnnxModel(graph.SerializeToString())
    before, maps_before = outputs(plain, train)
    logits, maps = outputs(model, train)
    np.testing.assert_allclose(logits, before, atol=1e-4)
    np.testing.assert_allclose(maps, maps_before - usual, atol=1e-4)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + model.bias, logits, atol=1e-4)
    for place in range(len(FINDINGS)):
        absent = train.labels[:, place] == 0
        np.testing.assert_allclose(maps[absent, ..., place].mean(axis=0), 0, atol=1e-4)
        assert np.isclose(model.bias[place], logits[absent, place].mean(), atol=1e-4)


def test_of_many_images_the_same_are_drawn_whatever_their_order(
    plain: OnnxModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_IMAGES", 7)
    train = dataset.split("train")
    turned = Dataset(train.studies.iloc[::-1].reset_index(drop=True), train.images)
    np.testing.assert_allclose(usual_maps(plain, turned), usual_maps(plain, train), atol=1e-5)
    assert len(module._drawn(train).studies) == 7
