"""A patient's side of the split never changes."""

from collections import Counter

import pandas as pd
import pytest

from chestxray.datasets import split
from chestxray.datasets.split import SplitError, check_split, has_repeats, patient_fold, patient_split
from chestxray.params import PrepareParams

PARAMS = PrepareParams(size=256, views="frontal", max_rejected=0.01, test=0.25, validation=0.2, salt="chest-xray")


def test_shares_are_those_of_the_params() -> None:
    splits = Counter(patient_split(str(patient), PARAMS, None) for patient in range(20_000))
    assert abs(splits["test"] / 20_000 - 0.25) < 0.01
    assert abs(splits["validation"] / 20_000 - 0.2) < 0.01


def test_another_salt_is_another_split() -> None:
    other = PARAMS.model_copy(update={"salt": "pepper"})
    assert any(patient_split(str(p), PARAMS, None) != patient_split(str(p), other, None) for p in range(50))


def test_the_official_list_decides_on_test_and_the_hash_on_validation() -> None:
    official = frozenset({"1", "2", "3"})
    for patient in map(str, range(1, 2000)):
        split, by_hash = patient_split(patient, PARAMS, official), patient_split(patient, PARAMS, None)
        assert (split == "test") == (patient in official)
        if patient not in official:
            assert (split == "validation") == (by_hash == "validation")


def test_folds_are_even_and_a_function_of_the_patient() -> None:
    folds = Counter(patient_fold(str(patient), 3) for patient in range(9000))
    assert set(folds) == {0, 1, 2} and min(folds.values()) > 2800


def studies(**columns: list[str]) -> pd.DataFrame:
    base = {"image": ["a", "b"], "patient": ["1", "2"], "split": ["train", "test"], "content_hash": ["x", "y"]}
    return pd.DataFrame(base | columns)


def test_disjoint_sides_pass_and_torn_ones_are_named() -> None:
    check_split(studies())
    with pytest.raises(SplitError, match="1 patients on two sides of the split, with the images a, b"):
        check_split(studies(patient=["1", "1"]))
    with pytest.raises(SplitError, match="identical images on two sides of the split, with the images a, b"):
        check_split(studies(content_hash=["x", "x"]))
    check_split(studies(patient=["1", "1"], content_hash=["x", "x"], split=["test", "test"]))


def test_names_that_share_a_hash_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_hashes", lambda names: pd.Series(0, names.index))
    studies = pd.DataFrame(
        {
            "patient": ["1", "2", "2", "3"],
            "content_hash": list("abcd"),
            "image": ["1.png", "2.png", "3.png", "4.png"],
            "split": ["train", "test", "test", "validation"],
        }
    )
    check_split(studies)
    assert not has_repeats(studies["content_hash"]) and has_repeats(studies["patient"])
    with pytest.raises(SplitError, match=r"1 patients on two sides of the split, with the images 2\.png, 3\.png\."):
        check_split(studies.assign(split=["train", "test", "train", "validation"]))
