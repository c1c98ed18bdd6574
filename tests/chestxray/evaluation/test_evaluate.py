"""Calibration and operating points come from validation alone; test is only looked at."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.benchmark import BenchmarkError, benchmark_images, check_benchmark
from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.evaluate import (
    Evaluation,
    evaluate_model,
    evaluation_note,
    make_card,
)
from chestxray.evaluation.thresholds import fit_thresholds
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL, Bundle, write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.params import load_params
from tests.chestxray.conftest import EVALUATE
from tests.chestxray.sample import masks
from tests.repository import TOP


@pytest.fixture(scope="module")
def network(bundle_folder: Path) -> OnnxModel:
    return OnnxModel(bundle_folder / MODEL)


@pytest.fixture(scope="module")
def evaluation(network: OnnxModel, dataset: Dataset) -> Evaluation:
    return evaluate_model(network, dataset, ("b",), EVALUATE)


def flipped(dataset: Dataset, split: str) -> Dataset:
    """The labels of one side turned over."""
    studies = dataset.studies.copy()
    of_side = studies["split"] == split
    studies.loc[of_side, list(FINDINGS)] = 1 - studies.loc[of_side, list(FINDINGS)]
    return Dataset(studies, dataset.images)


def test_labels_of_test_change_the_metrics_alone(network: OnnxModel, dataset: Dataset, evaluation: Evaluation) -> None:
    other = evaluate_model(network, flipped(dataset, "test"), ("b",), EVALUATE)
    assert np.array_equal(other.thresholds, evaluation.thresholds)
    assert other.platt.to_dict() == evaluation.platt.to_dict()
    assert np.array_equal(other.probabilities, evaluation.probabilities)
    auroc, flipped_auroc = (result.metrics["test"]["auroc"] for result in (evaluation, other))
    for finding in auroc:
        assert flipped_auroc[finding] == pytest.approx(1 - auroc[finding], abs=2e-6)


def test_labels_of_validation_change_calibration_and_operating_points(
    network: OnnxModel, dataset: Dataset, evaluation: Evaluation
) -> None:
    other = evaluate_model(network, flipped(dataset, "validation"), ("b",), EVALUATE)
    assert not np.array_equal(other.thresholds, evaluation.thresholds)
    assert other.platt.to_dict() != evaluation.platt.to_dict()
    # Calibration never turns a ranking over: what test says of it stays as it was.
    assert other.metrics["test"]["auroc"] == evaluation.metrics["test"]["auroc"]


def test_labels_of_training_change_nothing(network: OnnxModel, dataset: Dataset, evaluation: Evaluation) -> None:
    other = evaluate_model(network, flipped(dataset, "train"), ("b",), EVALUATE)
    assert other.metrics == evaluation.metrics and np.array_equal(other.thresholds, evaluation.thresholds)


def test_thresholds_are_those_of_calibrated_probabilities_of_validation(
    network: OnnxModel, dataset: Dataset, evaluation: Evaluation
) -> None:
    validation = dataset.split("validation")
    probabilities = evaluation.platt.probabilities(network.logits(next(validation.chunks(20))))
    assert np.array_equal(fit_thresholds(masks(validation.labels), probabilities, "f1"), evaluation.thresholds)


def test_a_wanted_sensitivity_is_reached_on_validation_and_said(
    bundle_folder: Path, network: OnnxModel, dataset: Dataset, tmp_path: Path
) -> None:
    shipped = TOP.joinpath("params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(shipped.replace("_policy: f1 ", "_policy: sensitivity@0.9 "))
    params = load_params(tmp_path / "params.yaml")
    result = evaluate_model(network, dataset, ("b",), params.evaluate)
    write_card(make_card(network, result, dataset, params, (bundle_folder / MODEL).read_bytes()), tmp_path)
    shutil.copy(bundle_folder / MODEL, tmp_path)
    bundle, validation = Bundle(tmp_path), dataset.split("validation")
    called = bundle.predict(np.concatenate(list(validation.chunks(20))))[0] >= bundle.thresholds
    positive = validation.labels == 1
    assert ((called & positive).sum(axis=0) >= 0.9 * positive.sum(axis=0)).all()
    assert "sensitivity@0.9" in evaluation_note(dataset, params.evaluate)


def test_calibration_makes_the_error_smaller_where_it_was_fitted(network: OnnxModel, dataset: Dataset) -> None:
    studies = dataset.studies[dataset.studies["split"] == "validation"]
    twice = Dataset(pd.concat([studies, studies.assign(split="test")], ignore_index=True), dataset.images)
    metrics = evaluate_model(network, twice, ("b",), EVALUATE).metrics["test"]
    assert metrics["calibration_error"] < metrics["calibration_error_before"]


def test_predictions_are_a_row_an_image_in_the_order_of_the_test_side(dataset: Dataset, evaluation: Evaluation) -> None:
    table, test = evaluation.predictions(), dataset.split("test")
    assert table["image"].tolist() == test.studies["image"].tolist() and table.shape == (20, 3 + 3 * 14)
    for place, finding in enumerate(FINDINGS):
        assert np.array_equal(table[f"{finding}_truth"], test.labels[:, place])
        called = table[f"{finding}_probability"].to_numpy() >= evaluation.thresholds[place]
        assert np.array_equal(table[f"{finding}_decision"].astype(bool), called)


def test_metrics_are_finite_and_figures_say_synthetic(dataset: Dataset, evaluation: Evaluation) -> None:
    assert json.dumps(evaluation.metrics, allow_nan=False)
    assert evaluation.metrics["test"]["n"] == 20
    assert "synthetic" in evaluation_note(dataset, EVALUATE)
    real = Dataset(dataset.studies.assign(synthetic=False), dataset.images)
    assert "synthetic" not in evaluation_note(real, EVALUATE)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_side_without_images_is_said(split: str, network: OnnxModel, dataset: Dataset) -> None:
    without = Dataset(dataset.studies[dataset.studies["split"] != split].reset_index(drop=True), dataset.images)
    with pytest.raises(ValueError, match=f"no {split} images"):
        evaluate_model(network, without, ("b",), EVALUATE)


def two_batches(dataset: Dataset) -> Dataset:
    """The first half of every side arrives as batch `b`, the other as `c`."""
    late = dataset.studies.groupby("split").cumcount() >= 10
    return Dataset(
        dataset.studies.assign(batch=np.where(late, "c", "b")), {"b": dataset.images["b"], "c": dataset.images["b"]}
    )


def test_the_benchmark_does_not_change_when_a_batch_arrives(network: OnnxModel, dataset: Dataset) -> None:
    both = two_batches(dataset)
    first = Dataset(both.studies[both.studies["batch"] == "b"].reset_index(drop=True), both.images)
    assert check_benchmark(benchmark_images(first, ("b",)), None) == check_benchmark(
        benchmark_images(both, ("b",)), None
    )
    metrics = evaluate_model(network, both, ("b",), EVALUATE).metrics
    assert (metrics["test"]["n"], metrics["benchmark"]["n"]) == (20, 10)
    assert {name: part["n"] for name, part in metrics["batch"].items()} == {"b": 10, "c": 10}
    assert metrics["batch"]["b"]["mean_auroc"] == metrics["benchmark"]["mean_auroc"]


def test_a_batch_that_cannot_be_scored_has_counts_alone(network: OnnxModel, dataset: Dataset) -> None:
    both = two_batches(dataset)
    both.studies.loc[both.studies["batch"] == "c", list(FINDINGS)] = 0
    assert evaluate_model(network, both, ("b",), EVALUATE).metrics["batch"]["c"] == {
        "n": 10, "patients": 10, "findings_scored": 0,
    }  # fmt: skip


def test_another_benchmark_is_an_error_unless_it_is_wanted(dataset: Dataset) -> None:
    benchmark = benchmark_images(dataset, ("b",))
    digest = check_benchmark(benchmark, None)["sha256"]
    assert check_benchmark(benchmark, digest)["n"] == 20
    with pytest.raises(BenchmarkError, match=r"evaluate\.benchmark_sha256"):
        check_benchmark(Dataset(benchmark.studies.iloc[1:], benchmark.images), digest)
