"""A batch without some labels: a finding is scored as if those images were not there, and no other finding changes."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from chestxray.batch_layout import UNLABELLED_NOTICE
from chestxray.datasets.dataset import BatchFolders, Dataset, load_dataset, unlabelled_in
from chestxray.evaluation.calibration import fit_platt
from chestxray.evaluation.evaluate import evaluate_model
from chestxray.evaluation.operating_points import fit_thresholds
from chestxray.evaluation.overlays import write_overlays
from chestxray.findings import FINDINGS, UNLABELLED
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.onnx_model import OnnxModel
from chestxray.metrics.calibration_error import calibration_error, calibration_errors, reliability
from chestxray.metrics.comparison import compare
from chestxray.metrics.confusion import confusion_matrices, f1_scores
from chestxray.metrics.ranking import auroc, average_precision, curves, mean_auroc, rank_findings, ranking_scores
from chestxray.metrics.report import classification_report, evaluate
from chestxray.metrics.table import Predictions
from chestxray.params import ClassWeightingParams, GateParams, TrainParams
from chestxray.registry.flips import flips
from chestxray.registry.gate import judge
from chestxray.registry.history import version_history
from chestxray.registry.version_predictions import VersionPredictions
from chestxray.training import head_objective
from chestxray.training.class_weights import class_weights
from chestxray.training.features import Features
from chestxray.training.fine_tuning import cross_entropy
from chestxray.training.head_objective import HeadObjective
from chestxray.training.linear_head import fit_head, head_logits
from chestxray.training.replay import replay_rows
from tests.chestxray.conftest import EVALUATE, PARAMS
from tests.chestxray.sample import masks, sample
from tests.nih_batch import plain_batch
from tests.prepared_batch import prepare

MASS, HERNIA = FINDINGS.index("Mass"), FINDINGS.index("Hernia")
OTHERS = [place for place in range(14) if place != MASS]
LATE = np.arange(300) >= 180
"""The images of a second batch, that does not label Mass."""


def masked(labels: np.ndarray, late: np.ndarray = LATE) -> np.ndarray:
    partial = labels.astype(np.int8)
    partial[late, MASS] = UNLABELLED
    return partial


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, ...]:
    return sample(0)


def test_rankings_and_their_curves_are_of_the_images_that_label_the_finding(images: tuple[np.ndarray, ...]) -> None:
    labels, scores, _, _ = images
    for score in (auroc, average_precision):
        one, whole, part = (score(masks(y), p) for y, p in (
            (masked(labels), scores), (labels, scores), (labels[~LATE], scores[~LATE])
        ))  # fmt: skip
        assert one[MASS] == part[MASS] != whole[MASS]
        np.testing.assert_array_equal(one[OTHERS], whole[OTHERS])
    drawn = (
        curves(masks(y), p) for y, p in ((masked(labels), scores), (labels, scores), (labels[~LATE], scores[~LATE]))
    )
    for one, whole, part in zip(*drawn, strict=True):
        mass = one["finding"] == "Mass"
        expected = part[part["finding"] == "Mass"].reset_index(drop=True)
        pd.testing.assert_frame_equal(one[mass].reset_index(drop=True), expected)
        rest = whole[whole["finding"] != "Mass"].reset_index(drop=True)
        pd.testing.assert_frame_equal(one[~mass].reset_index(drop=True), rest)


def test_every_resample_scores_a_finding_on_the_images_that_label_it(images: tuple[np.ndarray, ...]) -> None:
    labels, scores, decisions, _ = images
    weights = np.random.default_rng(0).poisson(1, (20, 300)).astype(np.int32)
    weights[0, ~LATE] = 0  # none that labels Mass is drawn

    def statistics(given: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
        labels = masks(given[rows])
        drawn = weights[:, rows]
        area, precision = ranking_scores(rank_findings(labels, scores[rows]), drawn)
        f1 = f1_scores(labels, decisions[rows], drawn)[0]
        return [area, precision, f1, calibration_errors(labels, scores[rows])(drawn)]

    every = np.ones(300, bool)
    with np.errstate(all="raise"):
        ones, wholes = statistics(masked(labels), every), statistics(labels, every)
    for one, whole, part in zip(ones, wholes, statistics(labels, ~LATE), strict=True):
        np.testing.assert_allclose(one[1:, MASS], part[1:, MASS], atol=1e-12)
        np.testing.assert_array_equal(one[:, OTHERS], whole[:, OTHERS])
    assert np.isnan([ones[0][0, MASS], ones[1][0, MASS], ones[3][0, MASS]]).all()


def test_counts_are_of_labels(images: tuple[np.ndarray, ...]) -> None:
    labels, scores, decisions, people = images
    partial = masked(labels)
    counts, whole, part = (
        confusion_matrices(masks(y), d).set_index("finding")
        for y, d in ((partial, decisions), (labels, decisions), (labels[~LATE], decisions[~LATE]))
    )
    assert counts.loc["Mass"].tolist() == part.loc["Mass"].tolist() and counts.loc["Mass"].sum() == 180
    assert counts.drop(index="Mass").equals(whole.drop(index="Mass"))
    result = evaluate(masks(partial), scores, decisions, people, min_positives=2)
    known = partial != UNLABELLED
    assert result["n"] == 300 and result["positives"]["Mass"] == labels[~LATE, MASS].sum()
    assert result["labelled"]["Mass"] == (~LATE).sum() and result["labelled"]["Edema"] == 300
    assert result["hamming_loss"] == pytest.approx((partial != decisions)[known].mean(), abs=1e-6)
    agree = [(y == d)[k].all() for y, d, k in zip(partial, decisions, known, strict=True)]
    assert result["subset_accuracy"] == pytest.approx(np.mean(agree), abs=1e-6)
    assert result["mean_auroc"] == pytest.approx(mean_auroc(masks(partial), scores), abs=1e-6)
    hits = (decisions & (partial == 1)).sum()
    expected = 2 * hits / ((decisions & known).sum() + (partial == 1).sum())
    assert result["micro_f1"] == pytest.approx(expected, abs=1e-6)
    report = classification_report(masks(partial), decisions, np.full(14, 0.4), result).set_index("finding")
    assert (report.loc["Mass", "n"], report.loc["Edema", "n"], report.loc["macro", "n"]) == (180, 300, 300)
    assert report.loc["Mass", "f1"] == result["f1"]["Mass"] == pytest.approx(
        2 * part.loc["Mass", "tp"] / (2 * part.loc["Mass", "tp"] + part.loc["Mass", "fp"] + part.loc["Mass", "fn"]),
        abs=1e-6,
    )  # fmt: skip


def test_a_finding_that_no_image_labels_is_left_out_and_the_keys_stay(images: tuple[np.ndarray, ...]) -> None:
    labels, scores, decisions, people = images
    nowhere = masked(labels, np.ones(300, bool))
    with np.errstate(all="raise"):
        result = evaluate(masks(nowhere), scores, decisions, people, min_positives=2)
        errors = calibration_error(masks(nowhere), scores)
    whole = evaluate(masks(labels), scores, decisions, people, min_positives=2)
    assert list(result) == list(whole)
    assert (result["findings_scored"], result["positives"]["Mass"]) == (13, 0)
    for name in ("auroc", "auroc_ci_low", "average_precision", "f1"):
        assert result[name] == {finding: value for finding, value in whole[name].items() if finding != "Mass"}
    assert "Mass" not in errors and len(errors) == 14
    assert "Mass" not in set(curves(masks(nowhere), scores)[0]["finding"])


@pytest.mark.parametrize("policy", ["f1", "youden", "sensitivity@0.9"])
def test_calibration_and_thresholds_are_of_the_images_that_label_the_finding(
    policy: str, images: tuple[np.ndarray, ...]
) -> None:
    labels, scores, _, _ = images
    logits = 8 * scores - 5
    one, whole, part = (
        fit_platt(z, masks(y)) for z, y in ((logits, masked(labels)), (logits, labels), (logits[~LATE], labels[~LATE]))
    )
    for name in ("slope", "intercept"):
        assert getattr(one, name)[MASS] == getattr(part, name)[MASS] != getattr(whole, name)[MASS]
        np.testing.assert_array_equal(getattr(one, name)[OTHERS], getattr(whole, name)[OTHERS])
    one, whole, part = (
        [cut.threshold for cut in fit_thresholds(masks(y), p, np.arange(len(p)), policy, 0.95)]
        for y, p in ((masked(labels), scores), (labels, scores), (labels[~LATE], scores[~LATE]))
    )
    assert one[MASS] == part[MASS]
    np.testing.assert_array_equal(np.array(one)[OTHERS], np.array(whole)[OTHERS])
    error = calibration_error(masks(masked(labels)), scores)["Mass"]
    assert error == pytest.approx(calibration_error(masks(labels[~LATE]), scores[~LATE])["Mass"], abs=1e-12)
    said, seen = reliability(labels[~LATE, MASS], scores[~LATE, MASS]).T
    assert error == pytest.approx(np.abs(said - seen).mean(), abs=1e-12)


def test_the_gate_judges_a_finding_by_the_images_that_label_it(images: tuple[np.ndarray, ...]) -> None:
    labels, scores, decisions, people = images
    old = Predictions(FINDINGS, scores, decisions)
    new = Predictions(FINDINGS, np.clip(scores + 0.1 * labels, 0, 1), decisions)
    one, whole = (compare(masks(y), old, new, people) for y in (masked(labels), labels))
    positive = labels[:, MASS] & ~LATE
    assert one.positives[MASS] == positive.sum() and one.rarer_patients[MASS] == len(set(people[positive]))
    assert one.champion["auroc"][MASS] == auroc(masks(labels[~LATE]), scores[~LATE])[MASS]
    for name, without in one.without.items():
        np.testing.assert_array_equal(without[:, OTHERS], whole.without[name][:, OTHERS])
    policy = GateParams(margin=0.01, finding_margin=0.05, superiority=False, level=0.05)
    nowhere = judge(masks(masked(labels, np.ones(300, bool))), old, new, people, policy, 5)
    assert nowhere.standings[MASS] == "does not vote" and nowhere.positives[MASS] == 0
    assert nowhere.decision == "promote"


def test_weights_are_of_the_training_images_that_label_the_finding(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.zeros((100, 14), np.int8)
    labels[:20] = 1
    labels[60:, MASS] = UNLABELLED
    labels[:, HERNIA] = UNLABELLED
    with caplog.at_level(logging.WARNING):
        rows = class_weights(labels, FINDINGS, ClassWeightingParams(power=1.0, cap=50.0))
    assert rows["Mass"] == {"n": 60, "positives": 20, "prevalence": 0.333333, "weight": 2.0}
    assert rows["Edema"] == {"n": 100, "positives": 20, "prevalence": 0.2, "weight": 4.0}
    assert rows["Hernia"] == {"n": 0, "positives": 0, "prevalence": 0.0, "weight": 0.0}
    assert "Hernia has no positives among the 0 training images that label it" in caplog.text


@pytest.fixture(scope="module")
def features(images: tuple[np.ndarray, ...]) -> Features:
    """Four features with a view, of the sample's labels; the later images do not label Mass, none labels Hernia."""
    labels = images[0]
    partial = masked(labels)
    partial[:, HERNIA] = UNLABELLED
    pooled = np.random.default_rng(3).normal(0, 1, (300, 1, 4)).astype(np.float16)
    pooled[:, 0, :3] += (labels[:, [MASS, 0, 1]] * 1.5).astype(np.float16)
    studies = pd.DataFrame(partial, columns=list(FINDINGS)).assign(patient=[str(row) for row in range(300)])
    return Features([pooled], [], [np.arange(300)], studies)


def test_the_head_is_the_optimum_of_the_images_that_label_the_finding(features: Features) -> None:
    head = fit_head(features, np.full(14, 2.0), TrainParams(l2=0.05, folds=2, warm_start=None, shared=0.0))
    rows = features.pooled[0][:, 0].astype(np.float64)
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    logits = head_logits(
        Features([features.pooled[0].repeat(2, axis=1)], [], features.places, features.studies), head.weights
    )
    for place in (MASS, 0, 1):
        partial = features.labels[:, place]
        known = partial != UNLABELLED
        model = LogisticRegression(C=1 / (0.05 * known.sum()), tol=1e-10, max_iter=5000)
        model.fit(standard[known], partial[known], np.where(partial[known], 2.0, 1.0))
        np.testing.assert_allclose(logits[:, place], standard @ model.coef_[0] + model.intercept_[0], atol=1e-2)
    assert not head.weights[:, HERNIA].any()  # nothing to learn from: a probability of one half


def test_a_label_that_is_not_there_pulls_at_nothing(features: Features) -> None:
    groups, weights = np.ones((300, 1), bool), np.random.default_rng(1).normal(0, 1, (5, 1, 14))
    _, gradient = HeadObjective(features, groups, np.ones(14), np.zeros(1)).loss(weights, 0.0)
    assert not gradient[:, 0, HERNIA].any() and gradient[:, 0, MASS].any()
    early = Features([features.pooled[0][:180]], [], [np.arange(180)], features.studies[:180])
    problem = HeadObjective(early, groups[:180], np.ones(14), np.zeros(1))
    problem._mean, problem._deviation = head_objective._moments(features)  # the same standardisation
    np.testing.assert_allclose(problem.loss(weights, 0.0)[1][:, 0, MASS], gradient[:, 0, MASS], rtol=1e-4, atol=1e-7)


def test_the_loss_of_fine_tuning_is_the_mean_over_labels(images: tuple[np.ndarray, ...]) -> None:
    labels, scores, _, _ = images
    partial = masked(labels)
    logits = tf.Variable(4 * scores - 2.01, dtype=tf.float32)
    weights = np.linspace(1, 5, 14)
    known = partial != UNLABELLED
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(weights)(partial, logits))
    z = logits.numpy().astype(np.float64)
    expected = np.where(labels, weights * np.logaddexp(0, -z), np.logaddexp(0, z))[known].mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[~known].any() and gradient[known].all()
    plain = tf.nn.weighted_cross_entropy_with_logits(labels.astype(np.float32), logits, weights.astype(np.float32))
    np.testing.assert_array_equal(cross_entropy(weights)(labels.astype(np.int8), logits), plain)
    nothing = cross_entropy(weights)(np.full((300, 14), UNLABELLED, np.int8), logits)
    assert not nothing.numpy().any()


def test_no_finding_is_replayed_as_what_none_is_known_of() -> None:
    studies = pd.DataFrame(UNLABELLED, index=range(20), columns=list(FINDINGS)).assign(batch="a")
    studies.loc[:9, "Mass"] = 0
    with np.errstate(all="raise"):
        assert len(replay_rows(studies, ["a"], 0.5, 0)) == 10


@pytest.fixture(scope="module")
def two(dataset: Dataset) -> Dataset:
    """The first half of every split is batch `b`, the other `c`, which does not label Mass."""
    late = dataset.studies.groupby("split").cumcount() >= 10
    studies = dataset.studies.assign(batch=np.where(late, "c", "b"))
    studies.loc[late, "Mass"] = UNLABELLED
    return Dataset(studies, {"b": dataset.images["b"], "c": dataset.images["b"]})


def test_a_data_set_says_which_batches_lack_which_labels(two: Dataset, dataset: Dataset) -> None:
    assert two.unlabelled == {"c": ("Mass",)} and dataset.unlabelled == {}
    assert unlabelled_in(two.studies) == ()
    assert two.digest != dataset.digest


def test_evaluation_goes_on_and_predictions_leave_missing_labels_empty(
    two: Dataset, dataset: Dataset, bundle_folder: Path
) -> None:
    network = OnnxModel(bundle_folder / MODEL)
    result, whole = (evaluate_model(network, data, ("b",), EVALUATE) for data in (two, dataset))
    assert result.metrics.keys() == whole.metrics.keys()
    assert (result.metrics["batch"]["b"]["findings_scored"], result.metrics["batch"]["c"]["findings_scored"]) == (
        14,
        13,
    )
    for name in OTHERS:
        assert result.thresholds[name] == whole.thresholds[name]
    table, late = result.predictions(), (two.split("test").studies["batch"] == "c").to_numpy()
    assert table["Mass_truth"].isna().tolist() == late.tolist()
    line = table[["Mass_truth", "Edema_truth"]].to_csv(index=False, header=False).splitlines()[-1]
    assert line == f",{two.split('test').labels[-1, FINDINGS.index('Edema')]}"
    assert whole.predictions().to_csv() == whole.predictions().astype({"Mass_truth": int}).to_csv()


def test_overlays_leave_missing_labels_empty(two: Dataset, bundle_folder: Path, tmp_path: Path) -> None:
    bundle, test = Bundle(bundle_folder), two.split("test")
    boxes = pd.DataFrame(columns=["batch", "image", "finding", "x", "y", "w", "h"])
    index = write_overlays(bundle, test, list(range(20)), boxes, PARAMS.gradcam, tmp_path / "out")
    mass = index[index["finding"] == "Mass"]
    assert mass["truth"].isna().tolist() == (mass["batch"] == "c").tolist()
    assert mass["truth"].isna().any() and index.loc[index["finding"] != "Mass", "truth"].notna().all()
    assert {cell.rstrip("\n") for cell in index["truth"].to_csv(index=False, header=False).splitlines()} == {
        "0",
        "1",
        '""',
    }


def test_flips_and_the_history_know_no_right_and_wrong_without_a_label(two: Dataset) -> None:
    test = two.split("test")
    said = (test.labels == 1).astype(np.int8)
    old, new = Predictions(FINDINGS, 0.1 + 0.8 * said, said), Predictions(FINDINGS, 0.9 - 0.8 * said, 1 - said)
    table = flips(test.studies, old, new)
    assert len(table) == 20 * 14 - 10 and set(table["change"]) == {"right to wrong"}
    assert set(table["truth"]) == {0, 1}
    assert not ((table["batch"] == "c") & (table["finding"] == "Mass")).any()
    rows = version_history(test, [VersionPredictions(1, ("b",), True, old)], None, 2)
    assert rows["mean_auroc"].tolist() == rows["macro_f1"].tolist() == [1, 1]


def test_the_notice_reaches_the_prepared_studies(tmp_path: Path) -> None:
    root = plain_batch(tmp_path / "root")
    (root / UNLABELLED_NOTICE).write_text("Hernia\n")
    folders = BatchFolders("b", tmp_path)
    prepare(root, folders, PARAMS.prepare)
    dataset = load_dataset([folders])
    assert dataset.unlabelled == {"b": ("Hernia",)} and dataset.studies["Hernia"].dtype == np.int8
    assert (dataset.labels[:, HERNIA] == UNLABELLED).all() and set(dataset.labels[:, MASS]) == {0, 1}
