"""Weights of positives."""

import logging

import numpy as np
import pytest

from chestxray.findings import FINDINGS
from chestxray.params import ClassWeightingParams
from chestxray.training.class_weights import class_weights, weight_array

LABELS = np.zeros((100, 14), np.int8)
LABELS[:20, 0] = 1
LABELS[:1, 1] = 1
LABELS[:, 2] = 1


@pytest.mark.parametrize(("power", "weight"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_the_weight_is_the_odds_to_the_power(power: float, weight: float) -> None:
    row = class_weights(LABELS, ClassWeightingParams(power=power, cap=50.0))["Atelectasis"]
    assert row == {"n": 100, "positives": 20, "prevalence": 0.2, "weight": weight}


def test_the_cap_holds() -> None:
    assert class_weights(LABELS, ClassWeightingParams(power=1.0, cap=10.0))["Cardiomegaly"]["weight"] == 10.0


def test_a_finding_with_one_class_only_weighs_one_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = class_weights(LABELS, ClassWeightingParams(power=1.0, cap=10.0))
    assert rows["Hernia"]["weight"] == rows["Effusion"]["weight"] == 1.0
    assert "Hernia" in caplog.text and "Effusion" in caplog.text and "Atelectasis" not in caplog.text
    assert weight_array(rows).tolist() == [rows[finding]["weight"] for finding in FINDINGS]
