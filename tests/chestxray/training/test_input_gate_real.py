"""The input gate of real films, held against real files of other kinds that packages bring."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file
from sklearn.datasets import load_sample_images

from chestxray.datasets.dataset import BatchFolders, Dataset, load_dataset
from chestxray.findings import FINDINGS
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.onnx_graph import classifier_graph, features_graph
from chestxray.models.pretrained import load_weights
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import HEAD
from chestxray.training.input_gate import fit_gate, gate_features
from tests.chestxray.conftest import PARAMS
from tests.prepared_batch import prepare
from tests.repository import SHARED

FILMS = SHARED / "nih-sample"
PIXELS = {
    "ankle": "RG3_UNCI.dcm", "CT of a head": "693_UNCI.dcm", "CT of a base of a skull": "J2K_pixelrep_mismatch.dcm",
    "CT of a spine": "CT_small.dcm", "MR of a shoulder": "MR2_UNCI.dcm", "test pattern": "vlut_04.dcm",
}  # fmt: skip
"""Of pydicom-data: their pixels alone, without the headers, which say that they are no chest radiographs."""

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not FILMS.is_dir(), reason="the real images are not at ../shared/nih-sample"),
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folders = BatchFolders("nih", tmp_path_factory.mktemp("data"))
    prepare(FILMS, folders, PARAMS.prepare)
    return load_dataset([folders])


@pytest.fixture(scope="module")
def model(films: Dataset) -> OnnxModel:
    """ImageNet's features, as fine-tuning leaves them on so few films, with a head of zeros."""
    config = pretrained_config(PARAMS.backbone, PARAMS.head)
    weights = load_weights(PARAMS.backbone)
    channels = sum(tap.channels for tap in config.taps)
    weights[HEAD] = [np.zeros((channels, 14), np.float32), np.zeros(14, np.float32)]
    params = PARAMS.input_gate.model_copy(update={"images": 150})
    graph = features_graph(weights, config.with_last_tap_alone(), None).SerializeToString()
    none = pd.DataFrame(columns=["batch", "image", "check", "value", "limit"])
    gate = fit_gate(gate_features(films, graph, config.input_size, params), none, params).weights
    return OnnxModel(classifier_graph(weights, config, PARAMS.prepare.size, FINDINGS, gate).SerializeToString())


def grey(pixels: np.ndarray) -> np.ndarray:
    """Grey levels stretched to 0–255."""
    plane = pixels.astype(np.float64) if pixels.ndim == 2 else pixels[..., :3].mean(axis=-1)
    low, high = np.percentile(plane, [0.5, 99.5])
    return np.clip((plane - low) * 255 / (high - low), 0, 255).astype(np.uint8)


def dicom_pixels(name: str) -> np.ndarray:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    file = pydicom.dcmread(path)
    pixels = grey(file.pixel_array)
    return 255 - pixels if file.PhotometricInterpretation == "MONOCHROME1" else pixels


def refused(model: OnnxModel, image: np.ndarray) -> bool:
    scores = model.outputs(resize(image, model.size)[None, ..., None]).gate
    return bool(model.input_gate.found(scores).any())


def test_good_films_pass(model: OnnxModel, films: Dataset) -> None:
    scores = np.concatenate([model.outputs(chunk).gate for chunk in films.split("test").chunks(8)])
    assert model.input_gate.found(scores).any(axis=1).mean() <= 0.02


@pytest.mark.parametrize("name", PIXELS.values(), ids=PIXELS)
def test_other_body_parts_and_devices_are_refused(model: OnnxModel, name: str) -> None:
    assert refused(model, dicom_pixels(name))


def test_a_chest_radiograph_of_another_hospital_passes(model: OnnxModel) -> None:
    assert not refused(model, dicom_pixels("RG1_UNCI.dcm"))


def test_photographs_are_refused(model: OnnxModel) -> None:
    portrait = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    assert refused(model, decode(portrait.read_bytes()).pixels)
    for photograph in load_sample_images().images:
        assert refused(model, grey(photograph))
        for corner in (photograph[:200, :200], photograph[-200:, -200:], photograph[100:300, 200:400]):
            assert refused(model, grey(corner))
