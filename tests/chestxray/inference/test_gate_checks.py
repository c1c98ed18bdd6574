"""The scores of the input gate become checks: refused, or warned about by a model of phantoms."""

import numpy as np
import pytest

from chestxray.inference.gate_checks import PHANTOMS, SENTENCES, gate_checks
from chestxray.inference.input_gate import NOT_A_CHEST, UNLIKE_TRAINING, InputGate

GATE = InputGate((UNLIKE_TRAINING, "inverted", "upside-down", NOT_A_CHEST), (2.0, -1.0, -1.0, 1.0))


def found(*scores: float, synthetic: bool = False) -> list[tuple[str, str, float | None, float | None]]:
    checks = gate_checks(GATE, np.array(scores, np.float32), synthetic)
    return [(check.name, check.verdict, check.value, check.limit) for check in checks]


def test_scores_below_their_thresholds_find_nothing() -> None:
    assert found(1.9, -1.5, -2.0, 0.9) == []


def test_of_the_kinds_the_likeliest_is_named_beside_the_distance() -> None:
    assert found(3.0, 5.0, 2.0, 1.0) == [(UNLIKE_TRAINING, "refused", 3.0, 2.0), ("inverted", "refused", 5.0, -1.0)]
    assert found(0.0, 5.0, 7.0, 1.0) == [("upside-down", "refused", 7.0, -1.0)]
    assert found(2.0, -2.0, -2.0, 0.0) == [(UNLIKE_TRAINING, "refused", 2.0, 2.0)]


def test_the_likeliest_is_only_one_that_reaches_its_threshold() -> None:
    assert found(0.0, -0.5, -3.0, 0.5) == [("inverted", "refused", -0.5, -1.0)]


def test_what_is_no_number_is_refused() -> None:
    assert [name for name, *_ in found(np.nan, -2.0, -2.0, 0.0)] == [UNLIKE_TRAINING]


def test_a_model_of_phantoms_warns_and_never_refuses() -> None:
    checks = gate_checks(GATE, np.array([9.0, 9.0, -9.0, -9.0], np.float32), synthetic=True)
    assert [check.verdict for check in checks] == ["warned", "warned"]
    assert [check.message for check in checks] == [PHANTOMS, SENTENCES["inverted"]]


def test_a_name_that_a_later_model_brings_is_said_in_general_words() -> None:
    (check,) = gate_checks(InputGate(("lateral",), (0.0,)), np.array([1.0], np.float32), synthetic=False)
    assert check.name == "lateral" and check.message == SENTENCES[UNLIKE_TRAINING]


@pytest.mark.parametrize("value", ["0.5", True, None, float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_threshold_is_a_finite_number(value: float) -> None:
    with pytest.raises(ValueError, match="threshold 2 of the input gate must be a finite number"):
        InputGate(("inverted", "sideways"), (1.0, value))


def test_a_gate_has_a_threshold_for_each_name() -> None:
    with pytest.raises(ValueError, match="2 names and 1 thresholds"):
        InputGate(("inverted", "sideways"), (1.0,))
