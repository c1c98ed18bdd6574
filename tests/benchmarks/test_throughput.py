"""What `benchmarks.throughput` compares is the same network on the same films, and its rows are those of a run."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.films import DETECTORS, write_films
from benchmarks.keras_loop import network
from benchmarks.pyfunc_loop import batches
from benchmarks.rows import measure_rows
from benchmarks.single_view import single_view
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.inference.bundle import MODEL
from chestxray.models.mobilenet_v2 import LAST
from chestxray.models.onnx_graph import classifier_graph
from chestxray.models.pretrained import load_weights
from chestxray.models.pretrained_config import TORCHVISION
from chestxray.models.weights import HEAD
from chestxray.params import load_params
from tests.serve.bundles import make_bundle

SIZE = 80


@pytest.fixture(scope="module")
def films() -> list[bytes]:
    """PNG files of smooth noise."""
    noise = np.random.default_rng(0).integers(256, size=(2, 20, 20), dtype=np.uint8)
    large = [cv2.resize(each, (300, 300), interpolation=cv2.INTER_CUBIC) for each in noise]
    return [cv2.imencode(".png", each)[1].tobytes() for each in large]


def test_a_network_taken_out_of_a_bundle_gives_its_logits(films: list[bytes], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    config = replace(TORCHVISION, input_size=64, tap_names=("block_13_expand_relu", LAST))
    weights = load_weights(load_params().backbone.model_copy(update={"weights": "random", "alpha": 1.0}))
    kernel = rng.normal(0, 0.1, (sum(tap.channels for tap in config.taps), 3)).astype(np.float32)
    weights[HEAD] = [kernel, rng.normal(size=3).astype(np.float32)]
    usual = rng.normal(size=(4, 4, 3)).astype(np.float32)
    graph = classifier_graph(weights, config, SIZE, ("A", "B", "C"), usual=usual)
    (tmp_path / MODEL).write_bytes(graph.SerializeToString())
    arrays = single_view(tmp_path, films)
    logits = network(arrays).predict(arrays["images"][:, 8:72, 8:72, None], verbose=0)
    assert np.ptp(logits, axis=0).min() > 0.01
    np.testing.assert_allclose(logits, arrays["logits"], atol=1e-3)


def test_both_formats_hold_the_same_films(films: list[bytes], tmp_path: Path) -> None:
    folders = write_films(tmp_path, films, 3)
    files = {kind: sorted(folder.iterdir()) for kind, folder in folders.items()}
    assert [len(each) for each in files.values()] == [3, 3]
    assert len({path.read_bytes() for path in files["DICOM"]}) == 3  # the third is the first with another UID
    for png, dicom, (rows, columns, bits) in zip(*files.values(), (*DETECTORS[:2], DETECTORS[0]), strict=True):
        radiograph = decode(dicom.read_bytes())
        assert radiograph.bit_depth == bits and radiograph.pixels.shape == (rows, columns)
        small = [
            resize(each, SIZE).astype(int).ravel() for each in (decode(png.read_bytes()).pixels, radiograph.pixels)
        ]
        assert np.corrcoef(small)[0, 1] > 0.999
        ((loop,),) = batches([dicom], SIZE)
        assert np.corrcoef(small[1], loop.ravel())[0, 1] > 0.99


def test_rows_are_those_of_a_run_that_goes_on(films: list[bytes], tmp_path: Path) -> None:
    (row,) = measure_rows(tmp_path, films, make_bundle(tmp_path / "bundle"), most=300, films=5)
    assert row["rows"] == "300" and float(row["MiB"]) > 0
