"""Weights come back from their file to the bit, in the same bytes each time; files of Keras are read too."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from chestxray.models.keras_model import backbone, set_weights
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.pretrained import load_weights
from chestxray.models.pretrained_config import TORCHVISION
from chestxray.models.weights import HEAD, WeightsError, read_weights, write_weights
from chestxray.params import BackboneParams
from tests.chestxray.conftest import TINY_CONFIG

ALPHA = 0.35
PARAMS = BackboneParams(weights="random", alpha=ALPHA, input_size=32, seed=3)


@pytest.fixture(scope="module")
def weights() -> LayerWeights:
    return load_weights(PARAMS)


def assert_equal(given: LayerWeights, expected: LayerWeights) -> None:
    assert given.keys() == expected.keys()
    assert all(np.array_equal(a, b) for name in given for a, b in zip(given[name], expected[name], strict=True))


def test_weights_survive_to_the_bit_and_same_weights_are_same_bytes(weights: LayerWeights, tmp_path: Path) -> None:
    first = tmp_path / "a.weights.h5"
    second = tmp_path / "b.weights.h5"
    write_weights(weights, first)
    write_weights(dict(reversed(weights.items())), second)
    assert first.read_bytes() == second.read_bytes()
    assert_equal(read_weights(first, ALPHA), weights)
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_the_head_comes_back_when_it_is_asked_for(tiny_weights: LayerWeights, tmp_path: Path) -> None:
    file = tmp_path / "a.weights.h5"
    write_weights(tiny_weights, file)
    assert_equal(read_weights(file, ALPHA, findings=14, taps=TINY_CONFIG.tap_names), tiny_weights)
    assert read_weights(file, ALPHA).keys() == tiny_weights.keys() - {HEAD}


def test_what_keras_wrote_is_read(weights: LayerWeights, tmp_path: Path) -> None:
    model = backbone(replace(TORCHVISION, alpha=ALPHA, input_size=32))
    set_weights(model, weights)
    model.save_weights(tmp_path / "keras.weights.h5")
    assert_equal(read_weights(tmp_path / "keras.weights.h5", ALPHA), weights)


def test_what_does_not_fit_is_refused_with_what_was_given(weights: LayerWeights, tmp_path: Path) -> None:
    file = tmp_path / "a.weights.h5"
    write_weights(weights, file)
    with pytest.raises(WeightsError, match=r"alpha 0\.5: \w+ has arrays of shape"):
        read_weights(file, 0.5)
    with pytest.raises(WeightsError, match="with a head of 14 findings"):
        read_weights(file, ALPHA, findings=14, taps=TINY_CONFIG.tap_names)
    with pytest.raises(WeightsError, match="none"):
        read_weights(tmp_path / "none.weights.h5", ALPHA)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="MobileNetV2"):
        read_weights(file, ALPHA)


@pytest.mark.parametrize("place", ["layers", "layers/x", "layers/x/vars"])
def test_an_array_where_a_group_should_be_is_refused(place: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "flat.weights.h5", "w") as flat:
        flat[place] = np.zeros(3)
    with pytest.raises(WeightsError, match="MobileNetV2"):
        read_weights(tmp_path / "flat.weights.h5", ALPHA)


def test_a_file_that_points_elsewhere_or_holds_no_numbers_is_refused(weights: LayerWeights, tmp_path: Path) -> None:
    whole = tmp_path / "a.weights.h5"
    linked = tmp_path / "b.weights.h5"
    wrong = tmp_path / "c.weights.h5"
    write_weights(weights, whole)
    write_weights(weights, linked)
    with h5py.File(linked, "r+") as file:
        del file["layers/Conv1/vars/0"]
        file["layers/Conv1/vars/0"] = h5py.ExternalLink(str(whole), "layers/Conv1/vars/0")
    with pytest.raises(WeightsError, match="Conv1 lies in another file"):
        read_weights(linked, ALPHA)
    write_weights(weights | {"Conv1": [np.full_like(weights["Conv1"][0], np.nan)]}, wrong)
    with pytest.raises(WeightsError, match="Conv1 has weights that are not finite"):
        read_weights(wrong, ALPHA)
