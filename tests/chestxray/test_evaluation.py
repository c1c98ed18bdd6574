"""Calibration and operating points come from validation alone; test is only looked at."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.bundle import MODEL, Network
from chestxray.dataset import Dataset
from chestxray.evaluation import Evaluation, describe, evaluate_model
from chestxray.findings import FINDINGS
from chestxray.operating_points import fit_thresholds
from tests.chestxray.conftest import EVALUATE


@pytest.fixture(scope="module")
def network(bundle_folder: Path) -> Network:
    return Network(bundle_folder / MODEL)


@pytest.fixture(scope="module")
def evaluation(network: Network, dataset: Dataset) -> Evaluation:
    return evaluate_model(network, dataset, EVALUATE)


def flipped(dataset: Dataset, side: str) -> Dataset:
    """The labels of one side turned over."""
    studies = dataset.studies.copy()
    of_side = studies["side"] == side
    studies.loc[of_side, list(FINDINGS)] = 1 - studies.loc[of_side, list(FINDINGS)]
    return Dataset(studies, dataset.images)


def test_labels_of_test_change_the_metrics_alone(network: Network, dataset: Dataset, evaluation: Evaluation) -> None:
    other = evaluate_model(network, flipped(dataset, "test"), EVALUATE)
    assert np.array_equal(other.thresholds, evaluation.thresholds)
    assert other.platt.to_dict() == evaluation.platt.to_dict()
    assert np.array_equal(other.probabilities, evaluation.probabilities)
    auroc, flipped_auroc = (result.metrics["test"]["auroc"] for result in (evaluation, other))
    for finding in auroc:
        assert flipped_auroc[finding] == pytest.approx(1 - auroc[finding], abs=2e-6)


def test_labels_of_validation_change_calibration_and_operating_points(
    network: Network, dataset: Dataset, evaluation: Evaluation
) -> None:
    other = evaluate_model(network, flipped(dataset, "validation"), EVALUATE)
    assert not np.array_equal(other.thresholds, evaluation.thresholds)
    assert other.platt.to_dict() != evaluation.platt.to_dict()
    # Calibration never turns a ranking over: what test says of it stays as it was.
    assert other.metrics["test"]["auroc"] == evaluation.metrics["test"]["auroc"]


def test_labels_of_training_change_nothing(network: Network, dataset: Dataset, evaluation: Evaluation) -> None:
    other = evaluate_model(network, flipped(dataset, "train"), EVALUATE)
    assert other.metrics == evaluation.metrics and np.array_equal(other.thresholds, evaluation.thresholds)


def test_thresholds_are_those_of_calibrated_probabilities_of_validation(
    network: Network, dataset: Dataset, evaluation: Evaluation
) -> None:
    validation = dataset.side("validation")
    probabilities = evaluation.platt.probabilities(network.logits_of(validation.chunks(7)))
    assert np.array_equal(fit_thresholds(validation.truth, probabilities, "f1"), evaluation.thresholds)


def test_calibration_makes_the_error_smaller_where_it_was_fitted(network: Network, dataset: Dataset) -> None:
    studies = dataset.studies[dataset.studies["side"] == "validation"]
    twice = Dataset(pd.concat([studies, studies.assign(side="test")], ignore_index=True), dataset.images)
    metrics = evaluate_model(network, twice, EVALUATE).metrics["test"]
    assert metrics["calibration_error"] < metrics["calibration_error_before"]


def test_predictions_are_a_row_an_image_in_the_order_of_the_test_side(dataset: Dataset, evaluation: Evaluation) -> None:
    table, test = evaluation.predictions(), dataset.side("test")
    assert table["image"].tolist() == test.studies["image"].tolist() and table.shape == (20, 3 + 3 * 14)
    for place, finding in enumerate(FINDINGS):
        assert np.array_equal(table[f"{finding}_truth"], test.truth[:, place])
        called = table[f"{finding}_probability"].to_numpy() >= evaluation.thresholds[place]
        assert np.array_equal(table[f"{finding}_decision"].astype(bool), called)


def test_metrics_are_finite_and_figures_say_synthetic(dataset: Dataset, evaluation: Evaluation) -> None:
    assert json.dumps(evaluation.metrics, allow_nan=False)
    assert evaluation.metrics["test"]["n"] == 20
    assert "synthetic" in describe(dataset, EVALUATE)
    real = Dataset(dataset.studies.assign(synthetic=False), dataset.images)
    assert "synthetic" not in describe(real, EVALUATE)


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_side_without_images_is_said(side: str, network: Network, dataset: Dataset) -> None:
    without = Dataset(dataset.studies[dataset.studies["side"] != side].reset_index(drop=True), dataset.images)
    with pytest.raises(ValueError, match=f"no {side} images"):
        evaluate_model(network, without, EVALUATE)
