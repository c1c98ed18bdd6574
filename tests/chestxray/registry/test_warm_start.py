"""A warm start goes on from what was registered; what it can't go on from is said, with the mend."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.datasets.dataset import Dataset
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import write_card
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.weights import HEAD, write_weights
from chestxray.params import HeadParams, Params
from chestxray.registry.versions import Registry
from chestxray.registry.warm_start import WarmStartError, load_parent
from chestxray.tracking.mlflow_runs import pipeline_run
from tests.chestxray.conftest import PARAMS, SIZE, TINY, register_without
from tests.chestxray.other_findings import with_findings


def of_findings(*findings: str) -> Dataset:
    return Dataset(pd.DataFrame({"batch": ["a", "a"], "patient": ["1", "2"], **dict.fromkeys(findings, 0)}), {})


TEST = of_findings(*FINDINGS)


def registered(
    client: MlflowClient, bundle_folder: Path, weights: LayerWeights, folder: Path, unlearned: tuple[str, ...] = ()
) -> tuple[Params, LayerWeights]:
    """Register a version, the second, that a run with these params and weights can go on from."""
    prepare = PARAMS.prepare.model_copy(update={"size": SIZE})
    params = PARAMS.model_copy(update={"prepare": prepare, "backbone": TINY})
    made, file = Path(shutil.copytree(bundle_folder, folder / "fits")), folder / "fits.weights.h5"
    said = params.model_dump(mode="json", include={"prepare", "backbone", "head"}) | {"batches": ["a", "b"]}
    status = tuple("not learned" if name in unlearned else "learned" for name in FINDINGS)
    write_card(Bundle(made).card.model_copy(update={"params": said, "status": status}), made)
    write_weights(weights, file)
    Registry(client, "chest-xray").register(pipeline_run(client, params), made, file)
    return params, weights


def test_a_version_that_fits_is_gone_on_from(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    params, _ = registered(client, bundle_folder, tiny_weights, tmp_path)
    parent = load_parent(client, "models:/chest-xray/2", params, TEST, tiny_weights)
    assert parent.batches == ("a", "b") and parent.weights.keys() == tiny_weights.keys()
    for layer, arrays in tiny_weights.items():
        for ours, theirs in zip(arrays, parent.weights[layer], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_findings_of_both_start_from_the_version_and_the_others_cold(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    params, weights = registered(client, bundle_folder, tiny_weights, tmp_path)
    parent = load_parent(client, "models:/chest-xray/2", params, of_findings("Tuberculosis", "Hernia", "Mass"), weights)
    kernel, bias = weights[HEAD]
    for name, place in (("Hernia", 13), ("Mass", 4)):
        np.testing.assert_array_equal(parent.head[name], [*kernel[:, place], bias[place]])
    assert "Tuberculosis" not in parent.head
    assert parent.sentence(("Tuberculosis", "Hernia", "Mass")) == (
        "2 of 3 findings start from models:/chest-xray/2; cold: Tuberculosis; not of this run: Atelectasis, "
        "Cardiomegaly, Effusion, Infiltration, Nodule, Pneumonia, Pneumothorax, Consolidation, Edema, Emphysema, "
        "Fibrosis, Pleural_Thickening"
    )
    assert parent.sentence(FINDINGS) == "14 of 14 findings start from models:/chest-xray/2"


def test_what_the_version_has_not_learned_starts_cold(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    params, weights = registered(client, bundle_folder, tiny_weights, tmp_path, unlearned=("Hernia", "Edema"))
    run = of_findings("Hernia", "Mass")
    parent = load_parent(client, "models:/chest-xray/2", params, run, weights)
    assert "Hernia" not in parent.head and "Mass" in parent.head
    said = parent.sentence(run.findings)
    assert said.startswith("1 of 2 findings start from models:/chest-xray/2; cold, since it has not learned them: He")
    with pytest.raises(WarmStartError, match="this run has Hernia, Edema: none is shared"):
        load_parent(client, "models:/chest-xray/2", params, of_findings("Hernia", "Edema"), weights)


def test_a_version_without_any_of_the_findings_is_not_gone_on_from(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    folder = with_findings(bundle_folder, {"Hernia": 13, "Tuberculosis": 0}, tmp_path / "other")
    Registry(client, "chest-xray").register(pipeline_run(client, PARAMS), folder, tmp_path / "final.weights.h5")
    said = r"has learned the findings Hernia, Tuberculosis, this run has Mass, Edema: none is shared"
    with pytest.raises(WarmStartError, match=said):
        load_parent(client, "models:/chest-xray/2", PARAMS, of_findings("Mass", "Edema"), tiny_weights)


@pytest.mark.parametrize("name", ["batches", "prepare.salt", "backbone", "backbone.alpha"])
def test_a_version_that_does_not_say_how_it_was_made(
    name: str, client: MlflowClient, bundle_folder: Path, tmp_path: Path
) -> None:
    register_without(name, client, bundle_folder, tmp_path)
    said = rf"models:/chest-xray/2: bundle.json has no params.{name}\b.*Name another version, or set train.warm_start"
    with pytest.raises(WarmStartError, match=said):
        load_parent(client, "models:/chest-xray/2", PARAMS, TEST, {})


def test_a_version_with_other_taps_is_no_start_and_one_without_any_saw_the_last_layer(
    client: MlflowClient, bundle_folder: Path, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    params, _ = registered(client, bundle_folder, tiny_weights, tmp_path)
    last = params.model_copy(update={"head": HeadParams(taps=("last",))})
    with pytest.raises(WarmStartError, match=r"head\.taps \['block_13_expand_relu', 'last'\], this run has \['last'\]"):
        load_parent(client, "models:/chest-xray/2", last, TEST, tiny_weights)
    turned = params.model_copy(update={"head": HeadParams(taps=params.head.taps[::-1])})
    assert load_parent(client, "models:/chest-xray/2", turned, TEST, tiny_weights).findings == FINDINGS
    older = Path(shutil.copytree(tmp_path / "fits", tmp_path / "older"))
    card = Bundle(older).card
    said = {name: section for name, section in card.params.items() if name != "head"}
    write_card(card.model_copy(update={"params": said}), older)
    Registry(client, "chest-xray").register(pipeline_run(client, params), older, tmp_path / "fits.weights.h5")
    with pytest.raises(WarmStartError, match=r"/3 has head\.taps \['last'\], this run has"):
        load_parent(client, "models:/chest-xray/3", params, TEST, tiny_weights)


def test_a_card_that_is_none(client: MlflowClient, tmp_path: Path) -> None:
    (card,) = tmp_path.rglob("bundle.json")
    card.write_text("{}")
    with pytest.raises(WarmStartError, match="models:/chest-xray/1 can't be had from the registry"):
        load_parent(client, "models:/chest-xray/1", PARAMS, TEST, {})
