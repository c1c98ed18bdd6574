"""What a warm start can't go on from is said, with the mend."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from chestxray.warm_start import WarmStartError, load_parent
from tests.chestxray.conftest import PARAMS, register_without


@pytest.mark.parametrize("name", ["batches", "prepare.salt", "backbone", "backbone.alpha"])
def test_a_version_that_does_not_say_how_it_was_made(
    name: str, client: MlflowClient, bundle_folder: Path, tmp_path: Path
) -> None:
    register_without(name, client, bundle_folder, tmp_path)
    said = rf"models:/chest-xray/2: bundle.json has no params.{name}\b.*Mend it, or set train.warm_start to null"
    with pytest.raises(WarmStartError, match=said):
        load_parent(client, "models:/chest-xray/2", PARAMS, {})


def test_a_card_that_is_none(client: MlflowClient, tmp_path: Path) -> None:
    (card,) = tmp_path.rglob("bundle.json")
    card.write_text("{}")
    with pytest.raises(WarmStartError, match="models:/chest-xray/1 can't be had from the registry"):
        load_parent(client, "models:/chest-xray/1", PARAMS, {})
