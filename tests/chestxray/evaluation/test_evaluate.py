"""Calibration and operating points come from validation alone; test is only looked at."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.benchmark import BenchmarkError, benchmark_images, check_benchmark
from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.evaluation.card import make_card
from chestxray.evaluation.evaluate import (
    Evaluation,
    evaluate_model,
    evaluation_note,
)
from chestxray.evaluation.localization import localize
from chestxray.evaluation.operating_points import fit_thresholds
from chestxray.evaluation.reports import write_reports
from chestxray.evaluation.shortcuts import COLUMNS
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.params import load_params
from tests.chestxray.conftest import EVALUATE
from tests.chestxray.sample import masks
from tests.repository import TOP


@pytest.fixture(scope="module")
def network(bundle_folder: Path) -> OnnxModel:
    return OnnxModel(bundle_folder / MODEL)


NO_BOXES = pd.DataFrame(columns=["batch", "image", "finding", "x", "y", "w", "h"])


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
    assert np.array_equal(other.thresholds, evaluation.thresholds, equal_nan=True)
    assert other.platt.to_dict() == evaluation.platt.to_dict()
    assert np.array_equal(other.probabilities, evaluation.probabilities)
    auroc, flipped_auroc = (result.metrics["test"]["auroc"] for result in (evaluation, other))
    for finding in auroc:
        assert flipped_auroc[finding] == pytest.approx(1 - auroc[finding], abs=2e-6)


def test_labels_of_validation_change_calibration_and_operating_points(
    network: OnnxModel, dataset: Dataset, evaluation: Evaluation
) -> None:
    other = evaluate_model(network, flipped(dataset, "validation"), ("b",), EVALUATE)
    assert not np.array_equal(other.thresholds, evaluation.thresholds, equal_nan=True)
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
    found = fit_thresholds(masks(validation.labels), probabilities, validation.patients, "f1", 0.95)
    assert [cut.threshold for cut in found] == evaluation.thresholds.tolist()


def test_a_wanted_sensitivity_is_reached_on_validation_and_said(
    bundle_folder: Path, network: OnnxModel, dataset: Dataset, tmp_path: Path
) -> None:
    shipped = TOP.joinpath("params.yaml").read_text()
    wanted = shipped.replace("[f1, youden, sensitivity@0.9,", "[sensitivity@0.9,")
    wanted = wanted.replace("min_positives: 10", "min_positives: 2")
    (tmp_path / "params.yaml").write_text(wanted)
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
    known = dataset.studies[dataset.studies["split"] != "test"]
    again = known[known["split"] == "validation"].assign(split="test")
    twice = Dataset(pd.concat([known, again], ignore_index=True), dataset.images)
    metrics = evaluate_model(network, twice, ("b",), EVALUATE).metrics["test"]
    assert metrics["calibration_error"] < metrics["calibration_error_before"]


def test_predictions_are_a_row_an_image_in_the_order_of_the_test_side(dataset: Dataset, evaluation: Evaluation) -> None:
    table, test = evaluation.predictions(), dataset.split("test")
    assert table["image"].tolist() == test.studies["image"].tolist() and table.shape == (20, 3 + 5 * 14)
    for place, finding in enumerate(FINDINGS):
        assert np.array_equal(table[f"{finding}_truth"], test.labels[:, place])
        called = table[f"{finding}_probability"].to_numpy() >= evaluation.thresholds[place]
        assert np.array_equal(table[f"{finding}_decision"].astype(bool), called)


LOST, RARE = FINDINGS.index("Mass"), FINDINGS.index("Hernia")
LEARNED = [name for place, name in enumerate(FINDINGS) if place not in (LOST, RARE)]


@pytest.fixture(scope="module")
def by_status(network: OnnxModel, dataset: Dataset) -> Evaluation:
    """Training has no image with Mass, and one with Hernia; validation and test have many."""
    studies = dataset.studies.copy()
    train = studies["split"] == "train"
    studies.loc[train, [FINDINGS[LOST], FINDINGS[RARE]]] = 0
    studies.loc[studies.index[train][0], FINDINGS[RARE]] = 1
    return evaluate_model(network, Dataset(studies, dataset.images), ("b",), EVALUATE)


def test_a_finding_is_measured_as_far_as_its_status_allows(by_status: Evaluation, evaluation: Evaluation) -> None:
    assert set(evaluation.status) == {"learned"}
    assert (by_status.status[LOST], by_status.status[RARE]) == ("not learned", "insufficient")
    assert by_status.evidence[RARE].train.model_dump() == {"present": 1, "absent": 19}
    some, every = by_status.metrics["test"], evaluation.metrics["test"]
    assert "Mass" not in json.dumps(by_status.metrics)
    assert some["auroc"] == {name: value for name, value in every["auroc"].items() if name != "Mass"}
    assert some["mean_auroc"] == pytest.approx(np.mean(list(some["auroc"].values())), abs=1e-6)
    assert some["f1"] == {name: every["f1"][name] for name in LEARNED}
    assert some["macro_f1"] == pytest.approx(np.mean(list(some["f1"].values())), abs=1e-6)
    places = [FINDINGS.index(name) for name in LEARNED]
    wrong = by_status.test.labels[:, places] != by_status.decisions[:, places]
    assert some["hamming_loss"] == pytest.approx(wrong.mean(), abs=1e-6)
    assert json.dumps(by_status.metrics, allow_nan=False) and some["calibration_error_before"] >= 0


def test_no_table_says_more_of_a_finding_than_its_status_allows(by_status: Evaluation, evaluation: Evaluation) -> None:
    table, every = by_status.predictions(), evaluation.predictions()
    assert list(table) == list(every)
    for place, finding in enumerate(FINDINGS):
        filled = {key for key in ("probability", "score", "decision") if table[f"{finding}_{key}"].notna().any()}
        expected = {LOST: set(), RARE: {"score"}}.get(place, {"probability", "decision"})
        assert filled == expected and set(table[f"{finding}_status"]) == {by_status.status[place]}
    assert np.array_equal(table["Hernia_score"], every["Hernia_probability"])
    assert np.isnan(by_status.thresholds[[LOST, RARE]]).all()
    reasons = [by_status.operating_points["f1"][place].lacking for place in (LOST, RARE)]
    assert reasons == ["the finding is not learned", "the finding is insufficient"]
    assert not by_status.decisions[:, [LOST, RARE]].any()
    report = by_status.report().set_index("finding")
    assert (
        report.loc["Mass", "status"] == "not learned" and report.loc["Mass", ["auroc", "f1", "threshold"]].isna().all()
    )
    assert report.loc["Hernia", ["f1", "threshold"]].isna().all() and report.loc["Hernia", "auroc"] > 0
    assert report.loc["Mass", "positives"] == (by_status.test.labels[:, LOST] == 1).sum()
    assert by_status.confusion()["finding"].tolist() == LEARNED
    for curve in by_status.curves():
        assert set(curve["finding"]) == set(FINDINGS) - {"Mass"}


def test_with_too_few_patients_everywhere_findings_are_ranked_only(network: OnnxModel, dataset: Dataset) -> None:
    wanted = EVALUATE.model_copy(update={"min_positives": 500})
    with np.errstate(all="raise"):
        result = evaluate_model(network, dataset, ("b",), wanted)
    test = result.metrics["test"]
    assert set(result.status) == {"insufficient"} and not result.decisions.any()
    assert json.dumps(result.metrics, allow_nan=False) and len(test["auroc"]) == 14
    assert test["mean_auroc_of_all"] > 0 and "mean_auroc" not in test
    assert not [name for name in test if "f1" in name and test[name]] and "calibration_error" not in test
    assert result.confusion().empty and result.report()["threshold"].isna().all()


def test_training_without_both_kinds_of_any_finding_is_said(network: OnnxModel, dataset: Dataset) -> None:
    studies = dataset.studies.copy()
    studies.loc[studies["split"] == "train", list(FINDINGS)] = 0
    with pytest.raises(UserError, match="none of the 14 findings can be learned"):
        evaluate_model(network, Dataset(studies, dataset.images), ("b",), EVALUATE)


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


def test_a_single_test_patient_is_said_before_any_work(network: OnnxModel, dataset: Dataset) -> None:
    studies = dataset.studies.copy()
    studies.loc[studies["split"] == "test", "patient"] = "one"
    with pytest.raises(UserError, match=r"all of one patient: give more patients, or raise prepare\.test"):
        evaluate_model(network, Dataset(studies, dataset.images), ("b",), EVALUATE)


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
        "n": 10, "patients": 10, "findings_scored": 0, "findings_averaged": 0, "patients_known": 1,
    }  # fmt: skip


def test_metrics_say_where_an_image_counts_as_a_patient(network: OnnxModel, dataset: Dataset) -> None:
    both = two_batches(dataset)
    both.studies.loc[both.studies["batch"] == "c", "patient_known"] = False
    metrics = evaluate_model(network, both, ("b",), EVALUATE).metrics
    parts = (metrics["test"], metrics["benchmark"], metrics["batch"]["b"], metrics["batch"]["c"])
    assert [part["patients_known"] for part in parts] == [0, 1, 1, 0]


def test_another_benchmark_is_an_error_unless_it_is_wanted(dataset: Dataset) -> None:
    benchmark = benchmark_images(dataset, ("b",))
    digest = check_benchmark(benchmark, None)["sha256"]
    assert check_benchmark(benchmark, digest)["n"] == 20
    with pytest.raises(BenchmarkError, match=r"evaluate\.benchmark_sha256"):
        check_benchmark(Dataset(benchmark.studies.iloc[1:], benchmark.images), digest)
    more = Dataset(benchmark.studies.assign(Tuberculosis=0), benchmark.images)
    with pytest.raises(
        BenchmarkError, match=r"findings or labels changed.* its 15 findings are Atelec.*Tuberculosis\."
    ):
        check_benchmark(more, digest)


def test_an_operating_point_that_is_unattainable_decides_nothing_and_is_said_everywhere(
    network: OnnxModel, dataset: Dataset, bundle_folder: Path, tmp_path: Path
) -> None:
    asked = EVALUATE.model_copy(
        update={"operating_points": ("assured_sensitivity@0.9", "f1")}
    )  # 20 patients are too few
    result = evaluate_model(network, dataset, ("b",), asked)
    params = load_params(TOP / "params.yaml").model_copy(update={"evaluate": asked})
    card = make_card(network, result, dataset, params, (bundle_folder / MODEL).read_bytes())
    assert all(
        "needs 29 validation patients" in point.lacking for point in card.operating_points["assured_sensitivity@0.9"]
    )
    assert np.isnan(card.thresholds()).all() and np.isfinite(card.thresholds("f1")).all()
    assert not result.decisions.any() and result.confusion().empty and "macro_f1" not in result.metrics["test"]
    assert result.predictions()["Mass_decision"].isna().all() and result.predictions()["Mass_probability"].notna().all()
    located = localize(network, network, result.test, NO_BOXES, 2)
    write_reports(result, located, pd.DataFrame(columns=list(COLUMNS)), card, "synthetic phantoms", tmp_path)
    points = pd.read_csv(tmp_path / "operating_points.csv")
    assert points["lacking"].notna().sum() == 14 and len(points) == 28
    assert (tmp_path / "confusion_matrix.png").exists() and (tmp_path / "localization.png").exists()


def test_operating_points_are_measured_on_test(evaluation: Evaluation) -> None:
    places = {name: [point.threshold for point in points] for name, points in evaluation.operating_points.items()}
    labels = evaluation.test.labels == 1
    for name, thresholds in places.items():
        for place, threshold in enumerate(thresholds):
            point = evaluation.operating_points[name][place]
            if threshold is None:
                assert point.lacking and point.sensitivity is None
                continue
            called = evaluation.probabilities[:, place].astype(float) >= threshold
            assert point.sensitivity and point.specificity
            assert point.sensitivity.value == pytest.approx(called[labels[:, place]].mean(), abs=1e-6)
            assert point.specificity.value == pytest.approx((~called[~labels[:, place]]).mean(), abs=1e-6)
            assert point.sensitivity.n == labels[:, place].sum()
    test = evaluation.metrics["test"]
    for place, finding in enumerate(FINDINGS):
        point = evaluation.operating_points["f1"][place]
        assert point.sensitivity and test["recall"][finding] == pytest.approx(point.sensitivity.value, abs=1e-6)
        assert test["recall_ci_low"][finding] == pytest.approx(point.sensitivity.low, abs=1e-6)


def test_a_wider_band_leaves_less_to_decide(evaluation: Evaluation) -> None:
    assert len(evaluation.risk_coverage) > 14
    for _, rows in evaluation.risk_coverage.groupby("finding"):
        assert rows.sort_values("error")["decided"].is_monotonic_increasing
