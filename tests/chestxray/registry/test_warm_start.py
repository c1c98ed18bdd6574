"""A warm start goes on from what was registered; what it can't go on from is said, with the mend."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.datasets.dataset import Dataset
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Bundle, write_card
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.weights import write_weights
from chestxray.registry.versions import Registry
from chestxray.registry.warm_start import WarmStartError, load_parent
from chestxray.tracking.mlflow_runs import pipeline_run
from tests.chestxray.conftest import PARAMS, SIZE, TINY, register_without
from tests.chestxray.other_findings import with_findings

TEST = Dataset(pd.DataFrame({"batch": ["a", "a"], "patient": ["1", "2"], **dict.fromkeys(FINDINGS, 0)}), {})


def test_a_version_that_fits_is_gone_on_from(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    prepare = PARAMS.prepare.model_copy(update={"size": SIZE})
    params = PARAMS.model_copy(update={"prepare": prepare, "backbone": TINY})
    made, weights = Path(shutil.copytree(bundle_folder, tmp_path / "fits")), tmp_path / "fits.weights.h5"
    said = params.model_dump(mode="json", include={"prepare", "backbone"}) | {"batches": ["a", "b"]}
    write_card(Bundle(made).card.model_copy(update={"params": said}), made)
    write_weights(tiny_weights, weights)
    Registry(client, "chest-xray").register(pipeline_run(client, params), made, weights)
    parent = load_parent(client, "models:/chest-xray/2", params, TEST, tiny_weights)
    assert parent.batches == ("a", "b") and parent.weights.keys() == tiny_weights.keys()
    for layer, arrays in tiny_weights.items():
        for ours, theirs in zip(arrays, parent.weights[layer], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_version_with_other_findings_is_not_gone_on_from(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    folder = with_findings(bundle_folder, {"Hernia": 13, "Tuberculosis": 0}, tmp_path / "other")
    Registry(client, "chest-xray").register(pipeline_run(client, PARAMS), folder, tmp_path / "final.weights.h5")
    said = r"has findings Hernia, Tuberculosis, this run has Atelectasis, .*, Hernia\. Set it as it was"
    with pytest.raises(WarmStartError, match=said):
        load_parent(client, "models:/chest-xray/2", PARAMS, TEST, tiny_weights)


@pytest.mark.parametrize("name", ["batches", "prepare.salt", "backbone", "backbone.alpha"])
def test_a_version_that_does_not_say_how_it_was_made(
    name: str, client: MlflowClient, bundle_folder: Path, tmp_path: Path
) -> None:
    register_without(name, client, bundle_folder, tmp_path)
    said = rf"models:/chest-xray/2: bundle.json has no params.{name}\b.*Name another version, or set train.warm_start"
    with pytest.raises(WarmStartError, match=said):
        load_parent(client, "models:/chest-xray/2", PARAMS, TEST, {})


def test_a_card_that_is_none(client: MlflowClient, tmp_path: Path) -> None:
    (card,) = tmp_path.rglob("bundle.json")
    card.write_text("{}")
    with pytest.raises(WarmStartError, match="models:/chest-xray/1 can't be had from the registry"):
        load_parent(client, "models:/chest-xray/1", PARAMS, TEST, {})
