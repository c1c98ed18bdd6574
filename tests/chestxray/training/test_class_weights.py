"""Weights of positives."""

import logging

import numpy as np
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.findings import FINDINGS
from chestxray.params import ClassWeightingParams
from chestxray.training.class_weights import check_ranked, class_weights, learnable, weight_array

LABELS = np.zeros((100, 14), np.int8)
LABELS[:20, 0] = 1
LABELS[:1, 1] = 1
LABELS[:, 2] = 1


@pytest.mark.parametrize(("power", "weight"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_the_weight_is_the_odds_to_the_power(power: float, weight: float) -> None:
    row = class_weights(LABELS, FINDINGS, ClassWeightingParams(power=power, cap=50.0))["Atelectasis"]
    assert row == {"n": 100, "positives": 20, "prevalence": 0.2, "weight": weight}


def test_the_cap_holds() -> None:
    assert class_weights(LABELS, FINDINGS, ClassWeightingParams(power=1.0, cap=10.0))["Cardiomegaly"]["weight"] == 10.0


def test_a_finding_with_one_class_only_weighs_nothing_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = class_weights(LABELS, FINDINGS, ClassWeightingParams(power=1.0, cap=10.0))
    assert rows["Hernia"]["weight"] == rows["Effusion"]["weight"] == 0.0
    assert "Hernia" in caplog.text and "Effusion" in caplog.text and "Atelectasis" not in caplog.text
    assert learnable(rows) == ("Atelectasis", "Cardiomegaly")
    assert weight_array(rows, FINDINGS[:3]).tolist() == [4.0, 10.0, 0.0]


def test_a_finding_that_nearly_all_have_is_learned_all_the_same() -> None:
    labels = np.ones((3_000_000, 1), np.int8)
    labels[0] = 0
    rows = class_weights(labels, ["Tubes"], ClassWeightingParams(power=1.0, cap=10.0))
    assert learnable(rows) == ("Tubes",)


def test_labels_to_learn_nothing_from_are_refused() -> None:
    with pytest.raises(UserError, match=r"none of the 12 findings has .* among the 100 training images"):
        class_weights(LABELS[:, 2:], FINDINGS[2:], ClassWeightingParams(power=1.0, cap=10.0))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_that_ranks_nothing_that_is_learned_is_refused(split: str, dataset: Dataset) -> None:
    check_ranked(dataset, dataset.findings)
    studies = dataset.studies.copy()
    studies.loc[studies["split"] == split, "Mass"] = 1
    check_ranked(Dataset(studies, dataset.images), ("Hernia", "Mass"))
    with pytest.raises(UserError, match=f"none of the 1 findings .* among the 20 {split} images.*prepare.{split}"):
        check_ranked(Dataset(studies, dataset.images), ("Mass",))
