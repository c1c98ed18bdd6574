"""A tiny network, a small data set of files, and a bundle of both, that all tests of the model share."""

import hashlib
import shutil
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_split
from chestxray.evaluation.card import make_card
from chestxray.evaluation.evaluate import evaluate_model
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL
from chestxray.inference.card import CARD, Card, write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.mobilenet_v2 import LayerWeights, blocks, find_taps
from chestxray.models.onnx_graph import features_graph
from chestxray.models.pretrained import load_weights
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import HEAD
from chestxray.params import BackboneParams, load_params
from chestxray.registry.versions import Registry
from chestxray.system.files import read_json
from chestxray.tracking.mlflow_runs import pipeline_run
from chestxray.tracking.store import open_store
from chestxray.training.export import export_classifier
from chestxray.training.features import write_features
from tests.chestxray.scoring.ward import make_ward
from tests.repository import TOP
from tests.serve.bundles import make_bundle

TINY = BackboneParams(weights="random", alpha=0.35, input_size=64, seed=5)
SIZE = 72
"""Side of the prepared images; the network sees the central 64."""
PARAMS = load_params(TOP / "params.yaml")
TINY_CONFIG = pretrained_config(TINY, PARAMS.head)
NAME = PARAMS.register_.model
VIEWS = PARAMS.features.model_copy(update={"views": 4})
EVALUATE = PARAMS.evaluate.model_copy(update={"min_positives": 2})


def lively_weights(params: BackboneParams, taps: tuple[str, ...] = TINY_CONFIG.tap_names) -> LayerWeights:
    """Random weights with a head on taps, and with statistics of batch normalisation as training would leave them."""
    rng, weights = np.random.default_rng(7), load_weights(params)
    for convolution in (c for block in blocks(params.alpha) for c in block.convolutions):
        n = convolution.filters
        statistics = (rng.uniform(0.5, 1.5, n), rng.normal(0, 0.2, n), rng.normal(0, 0.2, n), rng.uniform(0.3, 2, n))
        weights[convolution.batch_norm] = [array.astype(np.float32) for array in statistics]
    channels = sum(tap.channels for tap in find_taps(params.alpha, taps))
    weights[HEAD] = [rng.normal(0, 0.05, (channels, 14)).astype(np.float32), rng.normal(0, 1, 14).astype(np.float32)]
    return weights


@pytest.fixture(scope="session")
def tiny_weights() -> LayerWeights:
    return lively_weights(TINY)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Noise whose brightness says which findings it has: 20 images to train, 20 to validate, 20 to test."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=(60, 14)).astype(np.int8)
    images = rng.integers(120, size=(60, SIZE, SIZE), dtype=np.uint8) + (labels[:, :1, None] * 90).astype(np.uint8)
    studies = pd.DataFrame(labels, columns=list(FINDINGS))
    studies["batch"], studies["row"], studies["split"] = "b", range(60), np.repeat(["train", "validation", "test"], 20)
    drawn = pd.Series({str(patient): patient_split(str(patient), PARAMS.prepare, None) for patient in range(1000)})
    studies["patient"] = np.concatenate([drawn.index[drawn == split][:20] for split in ("train", "validation", "test")])
    studies["image"] = [f"{row}.png" for row in range(60)]
    studies["content_hash"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    studies["synthetic"] = True
    studies["patient_known"] = True
    studies["table"] = "a list of findings an image"
    studies["sex"], studies["view"], studies["age"] = "F", "PA", pd.Series(40, studies.index, dtype="Int16")
    studies["width"] = studies["height"] = 512
    return Dataset(studies, {"b": images})


@pytest.fixture(scope="session")
def graph(tiny_weights: LayerWeights) -> bytes:
    """Pooled features, and activations before the last convolution."""
    return bytes(features_graph(tiny_weights, TINY_CONFIG, "Conv_1").SerializeToString())


@pytest.fixture(scope="session")
def features_folder(dataset: Dataset, graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "b"
    write_features(dataset, graph, TINY.input_size, VIEWS, out, out.parent / "scratch")
    return out


@pytest.fixture(scope="session")
def bundle_folder(dataset: Dataset, tiny_weights: LayerWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle")
    export_classifier(tiny_weights, TINY_CONFIG, dataset, SIZE, out / MODEL)
    network = OnnxModel(out / MODEL)
    evaluation = evaluate_model(network, dataset, ("b",), EVALUATE)
    write_card(make_card(network, evaluation, dataset, PARAMS, (out / MODEL).read_bytes()), out)
    return out


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store with its tables, which take seconds to make; to be copied."""
    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{store}").search_experiments()
    return store


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of a store with one version."""
    shutil.copy(empty_store, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    (tmp_path / "final.weights.h5").write_bytes(b"weights")
    client = open_store()
    Registry(client, NAME).register(pipeline_run(client, PARAMS), bundle_folder, tmp_path / "final.weights.h5")
    return client


@pytest.fixture
def registry(client: MlflowClient) -> Registry:
    """The model with one version."""
    return Registry(client, NAME)


def register_without(param: str, client: MlflowClient, bundle: Path, folder: Path) -> None:
    """Register the bundle once more, less one of its card's params, named as "prepare.salt"."""
    made = Path(shutil.copytree(bundle, folder / "without"))
    content = read_json(made / CARD)
    *sections, key = param.split(".")
    del reduce(getitem, sections, content["params"])[key]
    write_card(Card.model_validate(content), made)
    Registry(client, NAME).register(pipeline_run(client, PARAMS), made, folder / "final.weights.h5")


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers fast, whatever it answers."""
    return make_bundle(tmp_path_factory.mktemp("scoring") / "bundle")


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A folder of radiographs, and much else."""
    return make_ward(tmp_path / "ward")
