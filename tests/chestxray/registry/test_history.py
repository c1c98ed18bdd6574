"""The ledger: backward transfer and forgetting by hand, figures by the same functions as the reports."""

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.figures import history_figure
from chestxray.findings import FINDINGS
from chestxray.metrics.table import Predictions
from chestxray.registry.flips import flips
from chestxray.registry.history import version_history
from chestxray.registry.promotion_report import report
from chestxray.registry.version_predictions import VersionPredictions

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(2, size=(40, 14)).astype(np.int8)


@pytest.fixture
def test_side() -> Dataset:
    studies = pd.DataFrame(TRUTH, columns=list(FINDINGS))
    studies["batch"], studies["patient"] = np.repeat(["a", "b"], 20), [str(row // 2) for row in range(40)]
    studies["image"] = [f"{row:02d}.png" for row in range(40)]
    return Dataset(studies, {})


def predictions(version: int, batches: tuple[str, ...], right_in: str) -> VersionPredictions:
    """Perfect on the batches named in `right_in`, wrong about everything elsewhere."""
    right = np.isin(np.repeat(["a", "b"], 20), list(right_in))[:, None]
    said = np.where(right, TRUTH, 1 - TRUTH)
    return VersionPredictions(version, batches, True, Predictions(FINDINGS, 0.1 + 0.8 * said, said))


def test_transfer_and_forgetting(test_side: Dataset) -> None:
    history = [predictions(1, ("a",), "a"), predictions(2, ("a", "b"), "b"), predictions(3, ("a", "b"), "ab")]
    table = version_history(test_side, history, champion=1, min_positives=2).set_index(["version", "batch"])
    assert table["mean_auroc"].tolist() == [1, 0, 0, 1, 1, 1]
    assert table["macro_f1"].tolist() == [1, 0, 0, 1, 1, 1]
    assert table["champion_before"].tolist() == [1, 1, 0, 0, 0, 0]
    assert table["trained_on"].tolist() == [1, 0, 1, 1, 1, 1]
    assert table["n"].tolist() == [20] * 6 and table["patients"].tolist() == [10] * 6
    a = table.xs("a", level="batch")
    assert a["backward_transfer"].iloc[1:].tolist() == [-1, 0] and np.isnan(a["backward_transfer"].iloc[0])
    assert a["forgetting"].iloc[1:].tolist() == [1, 0]
    b = table.xs("b", level="batch")
    assert np.isnan(b["backward_transfer"].iloc[:2]).all() and b["backward_transfer"].iloc[2] == 0


def test_means_are_over_findings_of_enough_patients_with_their_intervals(test_side: Dataset) -> None:
    noisy = np.clip(TRUTH * 0.3 + np.random.default_rng(0).random(TRUTH.shape) * 0.7, 0, 1)
    version = VersionPredictions(1, ("a",), True, Predictions(FINDINGS, noisy, noisy > 0.5))
    table = version_history(test_side, [version], None, 2)
    assert (table["findings_averaged"] == 14).all() and (table["mean_auroc"] == table["mean_auroc_of_all"]).all()
    for name in ("mean_auroc", "macro_f1"):
        assert (table[f"{name}_ci_low"] < table[name]).all() and (table[name] < table[f"{name}_ci_high"]).all()
    few = version_history(test_side, [version], None, 500)
    assert (few["findings_averaged"] == 0).all() and few["mean_auroc"].isna().all()
    assert (few["mean_auroc_of_all"] == table["mean_auroc_of_all"]).all()
    assert (few["forgetting"].isna() == table["forgetting"].isna()).all()
    history_figure(table, "synthetic phantoms")
    history_figure(few, "synthetic phantoms")


def test_a_batch_that_cannot_be_scored_is_empty(test_side: Dataset) -> None:
    test_side.studies.loc[test_side.studies["batch"] == "b", list(FINDINGS)] = 0
    table = version_history(test_side, [predictions(1, ("a",), "a")], None, 2)
    assert table["mean_auroc"].isna().tolist() == [False, True]
    history_figure(table, "synthetic phantoms")


def test_versions_with_other_findings_have_their_own_means_and_transfer_is_over_what_both_score(
    test_side: Dataset,
) -> None:
    first, second = predictions(1, ("a",), "a"), predictions(2, ("a",), "b")
    half = ("Tuberculosis", "Hernia", "Mass")  # the first is labelled nowhere
    said = np.column_stack([np.full(40, 0.5), second.predictions.of(half[1:]).probabilities])
    said[:20, 2] = 0.5  # Mass is a guess in batch a, Hernia is wrong there
    other = VersionPredictions(3, ("a",), True, Predictions(half, said, said > 0.5))
    table = version_history(test_side, [first, other], champion=1, min_positives=2)
    a = table[table["batch"] == "a"]
    assert a["findings_scored"].tolist() == [14, 2] and a["mean_auroc"].tolist() == [1, 0.25]
    assert a["backward_transfer"].iloc[1] == -0.75 and a["forgetting"].iloc[1] == 0.75
    alone = VersionPredictions(3, ("a",), True, Predictions(half[:1], said[:, :1], said[:, :1] > 0.5))
    a = version_history(test_side, [first, alone], champion=1, min_positives=2).groupby("batch").get_group("a")
    assert a["findings_scored"].tolist() == [14, 0]
    assert a.iloc[1][["mean_auroc", "macro_f1", "backward_transfer", "forgetting"]].isna().all()


def test_flips_put_what_went_wrong_first(test_side: Dataset) -> None:
    table = flips(
        test_side.studies, predictions(1, ("a",), "a").predictions, predictions(2, ("a", "b"), "b").predictions
    )
    assert len(table) == 40 * 14
    assert table["change"].tolist() == ["right to wrong"] * 280 + ["wrong to right"] * 280
    first = table.iloc[0]
    assert first["batch"] == "a" and first["champion_decision"] == first["truth"] != first["challenger_decision"]
    two = predictions(2, ("a", "b"), "b").predictions.of(["Mass", "Edema"])
    shared = flips(test_side.studies, predictions(1, ("a",), "a").predictions, two)
    pd.testing.assert_frame_equal(shared, table[table["finding"].isin(two.findings)].reset_index(drop=True))
    nothing = Predictions(("Tuberculosis",), np.zeros((40, 1)), np.zeros((40, 1)))
    assert flips(test_side.studies, nothing, two).empty
    same = predictions(1, ("a",), "a").predictions
    assert flips(test_side.studies, same, same).empty


def test_the_report_says_what_it_is() -> None:
    verdict = {"version": 1, "champion": None, "synthetic": True, "decision": "promote", "reason": "It is the first."}
    text = report(verdict)
    assert text.startswith("# Version 1: promote") and "Research use only" in text
