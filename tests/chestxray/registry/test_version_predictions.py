"""A version is asked about an image once; what is kept of its answers changes no answer, whatever becomes of it."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.datasets.dataset import Dataset
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import bundle_digest
from chestxray.registry.registered_version import LOGITS_DIGEST, LOGITS_FILE, artifact_path
from chestxray.registry.version_predictions import predict_versions
from chestxray.registry.versions import Registry
from tests.chestxray.conftest import NAME, PARAMS, register_without


@pytest.fixture
def test_side(dataset: Dataset) -> Dataset:
    return dataset.split("test")


def part(images: Dataset, rows: slice) -> Dataset:
    return Dataset(images.studies.iloc[rows].reset_index(drop=True), images.images)


def said(client: MlflowClient, images: Dataset) -> np.ndarray:
    (version,) = predict_versions(Registry(client, NAME), images, PARAMS).values()
    return np.asarray(version.predictions.probabilities)


def asked(capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether the version was asked since the last time."""
    return "version 1: " in capsys.readouterr().err


def kept(client: MlflowClient, tmp_path: Path) -> Path:
    (file,) = tmp_path.rglob(Path(LOGITS_FILE).name)
    return file


def test_an_image_is_asked_about_once_and_the_answer_is_the_same(
    client: MlflowClient, test_side: Dataset, bundle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Bundle(bundle_folder).predict(next(test_side.chunks(20)))[0]
    np.testing.assert_array_equal(said(client, part(test_side, slice(0, 12))), expected[:12])
    assert asked(capsys)
    np.testing.assert_array_equal(said(client, part(test_side, slice(11, 3, -1))), expected[11:3:-1])
    assert not asked(capsys)
    np.testing.assert_array_equal(said(client, test_side), expected)
    assert "version 1: 8 images" in capsys.readouterr().err
    twice = Dataset(pd.concat([test_side.studies] * 2, ignore_index=True), test_side.images)
    np.testing.assert_array_equal(said(client, twice), np.concatenate([expected, expected]))
    assert not asked(capsys)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def turned_over(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, cut, turned_over])
def test_a_damaged_file_is_made_again(
    damage, client: MlflowClient, test_side: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    expected = said(client, test_side)
    damage(kept(client, tmp_path))
    asked(capsys)
    np.testing.assert_array_equal(said(client, test_side), expected)
    assert asked(capsys)
    np.testing.assert_array_equal(said(client, test_side), expected)
    assert not asked(capsys)


def test_the_answers_of_another_model_are_noticed(client: MlflowClient, test_side: Dataset, tmp_path: Path) -> None:
    expected, file = said(client, test_side), kept(client, tmp_path)
    (pd.read_parquet(file) + np.float32(0.001)).to_parquet(file)
    client.set_model_version_tag(NAME, "1", LOGITS_DIGEST, hashlib.sha256(file.read_bytes()).hexdigest())
    np.testing.assert_array_equal(said(client, test_side), expected)


def test_where_nothing_can_be_kept_the_answer_is_the_same_and_it_is_said(
    client: MlflowClient, test_side: Dataset, bundle_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    place = tmp_path / "artifacts" / client.get_model_version(NAME, "1").run_id / "artifacts"
    (place / artifact_path(bundle_digest(bundle_folder), str(Path(LOGITS_FILE).parent))).write_bytes(b"in the way")
    expected = Bundle(bundle_folder).predict(next(test_side.chunks(20)))[0]
    for _ in range(2):
        np.testing.assert_array_equal(said(client, test_side), expected)
        assert asked(capsys)
    assert "logits of version 1 can't be kept, they will be computed again: " in caplog.text


@pytest.mark.parametrize("name", ["batches", "prepare", "prepare.salt"])
def test_a_version_that_does_not_say_how_it_was_made_is_left_out_and_the_others_are_asked(
    name: str, client: MlflowClient, test_side: Dataset, bundle_folder: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    register_without(name, client, bundle_folder, tmp_path)
    assert list(predict_versions(Registry(client, NAME), part(test_side, slice(0, 2)), PARAMS)) == [1]
    assert f"version 2 is left out: bundle.json has no params.{name}" in caplog.text
