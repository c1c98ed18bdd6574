"""The input gate: its scores in closed form, in ONNX as in NumPy, its thresholds, and what it tells apart."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_fold
from chestxray.evaluation.figures import input_gate_figure
from chestxray.evaluation.input_gate import gate_facts, gate_table
from chestxray.findings import FINDINGS
from chestxray.inference.input_gate import NOT_A_CHEST, UNLIKE_TRAINING
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.gate_weights import GateWeights
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import classifier_graph, features_graph
from chestxray.training import input_gate as module
from chestxray.training.input_gate import FittedGate, GateFeatures, fit_gate, gate_features, gate_thresholds
from tests.chestxray.conftest import PARAMS, SIZE, TINY, TINY_CONFIG

GATE = PARAMS.input_gate.model_copy(update={"images": 12, "components": 6, "folds": 2})
DIMENSIONS = 12
NONE_REFUSED = pd.DataFrame(columns=["batch", "image", "check", "value", "limit"])


def drawn_features(rng: np.random.Generator, images: int = 900) -> GateFeatures:
    """Good images are normal, each kind lies nine standard deviations away, on an axis of its own."""

    def normal(count: int, axis: int | None = None) -> np.ndarray:
        shift = 9.0 * np.eye(DIMENSIONS)[axis] if axis is not None else 0.0
        return ((rng.normal(size=(count, DIMENSIONS)) + shift) * np.linspace(2, 0.5, DIMENSIONS)).astype(np.float32)

    split = np.repeat(["train", "validation", "test"], [images // 2, images // 4, images // 4])
    train = np.arange(images // 2)
    studies = pd.DataFrame({"batch": "b", "image": [f"{row}.png" for row in range(images)], "split": split})
    studies["patient"] = [str(row // 2) for row in range(images)]
    sample = np.arange(3 * images // 4)
    unlike = {name: normal(len(train), axis) for axis, name in enumerate(module.NAMES[1:])}
    good = normal(images)
    return GateFeatures(
        lambda: iter(np.split(good, [7])), sample, good[sample], normal(len(sample)), train, unlike, studies
    )


def all_good(features: GateFeatures) -> np.ndarray:
    return np.concatenate(list(features.good()))


@pytest.fixture(scope="module")
def features() -> GateFeatures:
    return drawn_features(np.random.default_rng(0))


@pytest.fixture(scope="module")
def fitted(features: GateFeatures) -> FittedGate:
    return fit_gate(features, NONE_REFUSED, GATE)


@pytest.fixture(scope="module")
def network_features(dataset: Dataset, tiny_weights: LayerWeights) -> GateFeatures:
    graph = features_graph(tiny_weights, TINY_CONFIG.with_last_tap_alone(), None).SerializeToString()
    return gate_features(dataset, graph, TINY.input_size, GATE)


@pytest.fixture(scope="module")
def gated(network_features: GateFeatures, tiny_weights: LayerWeights) -> tuple[OnnxModel, GateWeights]:
    weights = fit_gate(network_features, NONE_REFUSED, GATE).weights
    return OnnxModel(classifier_graph(tiny_weights, TINY_CONFIG, SIZE, FINDINGS, weights).SerializeToString()), weights


def test_the_distance_is_that_of_a_gaussian_with_equal_variance_out_of_the_subspace() -> None:
    """Twice the logarithm of the density, but for what is the same for all points."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    spread, residual = np.array([3.0, 2.0]), 0.5
    covariance = basis @ np.diag([*spread**2, *[residual / 2] * 3]) @ basis.T
    gate = GateWeights(
        (UNLIKE_TRAINING,), np.zeros(1, np.float32), np.ones(5, np.float32), np.full(5, 2, np.float32),
        basis[:, :2].astype(np.float32), spread.astype(np.float32), residual,
        np.zeros((5, 0), np.float32), np.zeros(0, np.float32),
    )  # fmt: skip
    x = rng.normal(size=(50, 5))
    density = multivariate_normal(np.zeros(5), covariance)
    expected = -2 * (density.logpdf(x) - density.logpdf(np.zeros(5)))
    # Both parts weigh the same where K = 2 and the variance is residual / 2.
    np.testing.assert_allclose(np.exp(gate.scores((2 * x + 1).astype(np.float32))[:, 0]), expected / 2, rtol=1e-3)


def test_directions_spread_and_residual_are_those_of_scikit_learn(features: GateFeatures, fitted: FittedGate) -> None:
    train = features.studies["split"].to_numpy() == "train"
    good = np.concatenate([all_good(features)[train], features.altered[train[features.sample]]])
    gate = fitted.weights
    pca = PCA(GATE.components).fit((good - gate.mean) / gate.deviation)
    np.testing.assert_allclose(gate.spread**2, pca.explained_variance_ * (1 - 1 / len(good)), rtol=1e-3)
    np.testing.assert_allclose(np.abs(np.sum(gate.components * pca.components_.T, axis=0)), 1, atol=1e-2)
    assert gate.residual == pytest.approx(DIMENSIONS - (gate.spread**2).sum(), rel=1e-3)


def test_log_odds_are_those_of_scikit_learns_softmax_regression() -> None:
    rng = np.random.default_rng(2)
    classes = [rng.normal(size=(count, 4)) + shift for count, shift in ((90, 0), (60, 1), (30, [2, -1, 0, 0]))]
    x = np.concatenate(classes)
    odds, bias = module._log_odds(classes, 4)
    pca = PCA(whiten=True).fit(x)
    z = pca.transform(x) * np.sqrt(len(x) / (len(x) - 1))
    model = LogisticRegression(C=1 / (module.RIDGE * len(x)), class_weight="balanced", tol=1e-8, max_iter=2000)
    expected = model.fit(z, np.repeat([0, 1, 2], [90, 60, 30])).decision_function(z)
    np.testing.assert_allclose(x @ odds + bias, expected[:, 1:] - expected[:, :1], atol=0.02)


def test_each_kind_reaches_its_score_and_good_images_reach_none(features: GateFeatures, fitted: FittedGate) -> None:
    gate = fitted.weights
    test = features.studies["split"].to_numpy() == "test"
    refused = (gate.scores(all_good(features)[test]) >= gate.thresholds).any(axis=1)
    assert refused.mean() <= 0.03
    for place, name in enumerate(gate.names[1:], start=1):
        scores = gate.scores(features.unlike[name])
        assert (scores[:, 1:].argmax(axis=1) == place - 1).mean() > 0.95
        assert (scores >= gate.thresholds).any(axis=1).mean() > 0.9


def test_what_is_far_away_in_any_direction_is_unlike_the_training_images(fitted: FittedGate) -> None:
    far = 30 * np.concatenate([np.eye(DIMENSIONS), -np.eye(DIMENSIONS)]).astype(np.float32)
    assert (fitted.weights.scores(far)[:, 0] >= fitted.weights.thresholds[0]).all()


def test_at_most_the_asked_share_of_held_out_good_images_is_refused(fitted: FittedGate) -> None:
    metrics = fitted.metrics
    total = metrics["n"] + metrics["altered"]["n"]
    assert metrics["refused"] + metrics["altered"]["refused"] <= GATE.refused * total
    assert metrics["batch"]["b"]["n"] == metrics["n"] == 675 and metrics["share_ci_low"] <= metrics["share"]
    assert metrics["share"] == pytest.approx(metrics["refused"] / metrics["n"], abs=1e-6)


def test_training_images_are_held_against_a_gate_that_has_not_seen_their_patients(features: GateFeatures) -> None:
    """Fold by fold, as if the patients of one were not there at all."""
    folds = np.array([patient_fold(patient, GATE.folds) for patient in features.studies["patient"]])
    train = features.studies["split"].to_numpy() == "train"
    gates = [module._fit(features, train & (folds != fold), GATE.components) for fold in range(GATE.folds)]
    final = module._fit(features, train, GATE.components)
    good = all_good(features)
    expected = final.scores(good)
    for fold, gate in enumerate(gates):
        expected[train & (folds == fold)] = gate.scores(good[train & (folds == fold)])
    seen = np.concatenate([expected[features.sample], final.scores(features.altered)])
    altered = np.flatnonzero(train)  # the sample begins with the training images
    for row in altered:
        seen[len(features.sample) + row] = gates[folds[row]].scores(features.altered[row : row + 1])[0]
    fitted = fit_gate(features, NONE_REFUSED, GATE).weights
    wanted = gate_thresholds(seen, int(GATE.refused * len(seen) + 1e-9))
    np.testing.assert_allclose(fitted.thresholds, wanted, rtol=1e-5)
    unfair = np.concatenate([final.scores(good)[features.sample], final.scores(features.altered)])
    assert not np.allclose(wanted, gate_thresholds(unfair, int(GATE.refused * len(unfair) + 1e-9)), rtol=1e-3)


def test_thresholds_lie_at_one_rank_of_all_scores_and_refuse_no_more_than_allowed() -> None:
    scores = np.random.default_rng(3).normal(size=(2000, 4)).astype(np.float32)
    thresholds = gate_thresholds(scores, 20)
    refused = (scores >= thresholds).any(axis=1).sum()
    assert 12 <= refused <= 20 and len(set((scores >= thresholds).sum(axis=0))) == 1


def test_with_too_few_images_the_thresholds_lie_beyond_all_of_them() -> None:
    scores = np.arange(50, dtype=np.float32)[:, None]
    assert gate_thresholds(scores, 0) == pytest.approx(49 + 0.5 * (49 - 24.5))


def test_studies_that_are_refused_are_listed_with_value_and_limit(features: GateFeatures) -> None:
    odd = all_good(features)
    odd[-1] = 50.0  # a test image
    listed = fit_gate(replace(features, good=lambda: iter([odd])), NONE_REFUSED, GATE).refused
    last = listed[listed["image"] == f"{len(odd) - 1}.png"]
    assert UNLIKE_TRAINING in set(last["check"]) and (listed["value"] >= listed["limit"]).all()


def test_what_the_pixels_refuse_counts_in_the_share_and_is_listed(features: GateFeatures, fitted: FittedGate) -> None:
    by_checks = pd.DataFrame(
        {"batch": "b", "image": ["3.png", "899.png"], "check": "blank", "value": 1.0, "limit": 0.99}
    )
    with_pixels = fit_gate(features, by_checks, GATE)
    metrics = with_pixels.metrics
    total = metrics["n"] + metrics["altered"]["n"]
    assert metrics["by_pixels"] == 1, "the other one is a test image"
    assert metrics["refused"] + metrics["altered"]["refused"] <= GATE.refused * total
    assert (with_pixels.weights.thresholds >= fitted.weights.thresholds).all()
    listed = with_pixels.refused[with_pixels.refused["check"] == "blank"]
    assert listed[["image", "split"]].to_numpy().tolist() == [["3.png", "train"], ["899.png", "test"]]
    many = by_checks.iloc[[0] * 30].assign(image=[f"{row}.png" for row in range(30)])
    assert np.isfinite(fit_gate(features, many, GATE).weights.thresholds).all()


def test_the_same_features_give_the_same_gate(features: GateFeatures, fitted: FittedGate) -> None:
    again = fit_gate(features, NONE_REFUSED, GATE)
    for name in ("thresholds", "components", "odds", "odds_bias", "mean"):
        np.testing.assert_array_equal(getattr(again.weights, name), getattr(fitted.weights, name))
    assert again.metrics == fitted.metrics


def test_the_same_seed_draws_the_same_images_and_another_seed_others(
    dataset: Dataset, tiny_weights: LayerWeights, network_features: GateFeatures
) -> None:
    graph = features_graph(tiny_weights, TINY_CONFIG.with_last_tap_alone(), None).SerializeToString()
    make = partial(gate_features, dataset, graph, TINY.input_size)
    again, other = make(GATE), make(GATE.model_copy(update={"seed": 77}))
    np.testing.assert_array_equal(again.altered, network_features.altered)
    assert not np.array_equal(other.sample, again.sample) and len(again.sample) == 24
    np.testing.assert_array_equal(all_good(other), all_good(again))
    np.testing.assert_array_equal(again.sampled, all_good(other)[again.sample])


def test_onnx_computes_what_numpy_computes(
    gated: tuple[OnnxModel, GateWeights], dataset: Dataset, network_features: GateFeatures, tiny_weights: LayerWeights
) -> None:
    model, weights = gated
    images = next(dataset.chunks(60))
    outputs = model.outputs(images)
    np.testing.assert_allclose(outputs.gate, weights.scores(all_good(network_features)), rtol=1e-3, atol=1e-3)
    assert model.input_gate.names == weights.names and outputs.gate.shape == (60, 5)
    np.testing.assert_array_equal(np.array(model.input_gate.thresholds, np.float32), weights.thresholds)
    without = OnnxModel(classifier_graph(tiny_weights, TINY_CONFIG, SIZE, FINDINGS).SerializeToString())
    np.testing.assert_array_equal(outputs.logits, without.logits(images))
    logits, gate = model.logits_and_gate(images)
    np.testing.assert_array_equal(logits, outputs.logits)
    np.testing.assert_array_equal(gate, outputs.gate)


def test_the_table_counts_what_is_refused_of_each_kind_and_batch(
    gated: tuple[OnnxModel, GateWeights], dataset: Dataset
) -> None:
    model, _ = gated
    test = dataset.split("test")
    good = model.logits_and_gate(next(test.chunks(20)))[1]
    table = gate_table(model, test, good, seed=1)
    rows = table.set_index("kind")
    assert rows.loc["good", "refused"] == model.input_gate.found(good).any(axis=1).sum()
    assert "good, b" not in rows.index and (table["n"] == 20).all()
    assert {"altered", "inverted", "upside-down", "sideways", "cropped", "blank", "noise", "text"} < set(rows.index)
    assert (table["low"] <= table["share"]).all() and (table["share"] <= table["high"]).all()
    pd.testing.assert_frame_equal(table, gate_table(model, test, good, seed=1))
    one = replace(test, studies=test.studies.assign(patient=test.studies["patient"].iloc[0]))
    alone = gate_table(model, one, good, seed=1)
    assert alone["low"].isna().all() and alone["refused"].tolist() == table["refused"].tolist()
    assert set(gate_facts(model, alone, {})["test"]["good"]) == {"n", "refused", "share", "check"}
    facts = gate_facts(model, table, {"n": 3})
    assert facts["thresholds"].keys() == set(module.NAMES) and facts["test"]["good"]["n"] == 20
    assert NOT_A_CHEST in facts["thresholds"] and input_gate_figure(table, "noise").axes
