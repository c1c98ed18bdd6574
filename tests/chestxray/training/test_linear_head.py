"""The linear head stands at its optimum, chosen by folds that never share a patient."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from chestxray.datasets.split import patient_fold
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, UNLABELLED
from chestxray.params import TrainParams
from chestxray.training import head_objective
from chestxray.training.features import Features
from chestxray.training.head_objective import HeadObjective
from chestxray.training.linear_head import fit_head, head_auroc, head_logits, l2_grid
from chestxray.training.preconditioning import Curvature

IMAGES = 300
VIEWS = 2
WIDTH = 6


@pytest.fixture(scope="module")
def features() -> Features:
    rng = np.random.default_rng(0)
    pooled = rng.normal(2.0, [0.1, 1, 3, 1, 1, 1], (IMAGES, VIEWS, WIDTH)).astype(np.float16)
    odds = pooled.mean(axis=1).astype(np.float64) @ rng.normal(0, 1, (WIDTH, 14)) - 2
    labels = rng.random((IMAGES, 14)) < 1 / (1 + np.exp(-(odds - odds.mean(axis=0) + 0.5)))
    studies = pd.DataFrame(labels.astype(np.int8), columns=list(FINDINGS))
    studies["patient"] = [str(row // 2) for row in range(IMAGES)]
    return Features([pooled[:100], pooled[100:]], [], [np.arange(100), np.arange(len(pooled) - 100)], studies)


def theirs(features: Features, images: np.ndarray, l2: float, class_weights: np.ndarray) -> np.ndarray:
    """Logits of all images and views, N × V × 14, by scikit-learn's fit of each finding to some of the images."""
    rows = np.concatenate(features.pooled).astype(np.float64)
    standard = (rows - rows.mean(axis=(0, 1))) / rows.std(axis=(0, 1))
    logits = []
    for column, weight in zip(features.labels.T, class_weights, strict=True):
        labels = np.repeat(column[images], VIEWS)
        seen = standard[images].reshape(-1, WIDTH)
        model = LogisticRegression(C=1 / (l2 * len(seen)), tol=1e-10, max_iter=5000)
        model.fit(seen, labels, np.where(labels, weight, 1.0))
        logits.append(standard @ model.coef_[0] + model.intercept_[0])
    return np.stack(logits, axis=-1)


def test_it_is_the_optimum_that_scikit_learn_finds(features: Features) -> None:
    l2 = 0.05
    class_weights = np.linspace(1, 4, 14)
    head = fit_head(features, class_weights, TrainParams(l2=l2, folds=2, warm_start=None, shared=0.0))
    expected = theirs(features, np.arange(IMAGES), l2, class_weights)
    ours = np.concatenate(features.pooled).astype(np.float64) @ head.weights[:-1] + head.weights[-1]
    np.testing.assert_allclose(ours, expected, atol=5e-3)
    assert expected.std() > 0.5


def test_findings_share_by_the_penalty_of_multi_task_learning(features: Features) -> None:
    """Σ loss + λ/2 tr(W K⁻¹ Wᵀ), K = I + ρ 11ᵀ, by SciPy, from the weights of the findings themselves."""
    some, l2, shared = features.of(FINDINGS[:3]), 0.3, 2.0
    rows = np.concatenate(some.pooled).astype(np.float64).reshape(-1, WIDTH)
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    labels = np.repeat(some.labels, VIEWS, axis=0).astype(np.float64)
    precision = np.linalg.inv(np.eye(3) + shared)

    def objective(flat: np.ndarray) -> float:
        weights, bias = flat[:-3].reshape(WIDTH, 3), flat[-3:]
        logits = standard @ weights + bias
        losses = np.logaddexp(0, logits) - labels * logits
        return float(losses.mean(axis=0).sum() + l2 / 2 * np.trace(weights @ precision @ weights.T))

    best = minimize(objective, np.zeros(3 * WIDTH + 3), tol=1e-10).x
    expected = standard @ best[:-3].reshape(WIDTH, 3) + best[-3:]
    head = fit_head(some, np.ones(3), TrainParams(l2=l2, folds=2, warm_start=None, shared=shared))
    np.testing.assert_allclose(rows @ head.weights[:-1] + head.weights[-1], expected, atol=5e-3)
    alone = fit_head(some, np.ones(3), TrainParams(l2=l2, folds=2, warm_start=None, shared=0.0))
    assert np.abs(rows @ (head.weights - alone.weights)[:-1]).max() > 0.1


def test_folds_are_scored_by_fits_that_never_saw_their_patients(features: Features) -> None:
    grid = (10.0, 0.1, 0.001)
    class_weights = np.linspace(1, 4, 14)
    head = fit_head(features, class_weights, TrainParams(l2=grid, folds=3, warm_start=None, shared=0.0))
    folds = np.array([patient_fold(patient, 3) for patient in features.patients])
    for l2, score in zip(head.folds["l2"], head.folds["mean_auroc"], strict=True):
        expected = []
        for fold in range(3):
            logits = theirs(features, np.flatnonzero(folds != fold), l2, class_weights).mean(axis=1)[folds == fold]
            expected.append(roc_auc_score(features.labels[folds == fold], logits, average="macro"))
            if l2 == head.l2:
                np.testing.assert_allclose(head.held_out[folds == fold], logits - np.log(class_weights), atol=2e-2)
        assert np.isclose(score, np.mean(expected), atol=1e-3)


def test_the_gradient_is_that_of_the_loss(features: Features) -> None:
    rng = np.random.default_rng(1)
    groups = np.column_stack([rng.random(IMAGES) < 0.5, np.ones(IMAGES, bool)])
    problem = HeadObjective(features, groups, np.full(14, 2.0), np.array([0.3, 2.0]))
    weights = rng.normal(0, 0.3, (WIDTH + 1, 2, 14))
    _, gradient = problem.loss(weights, 0.1)
    for place in ((0, 0, 0), (3, 1, 5), (WIDTH, 0, 13)):
        step = np.zeros_like(weights)
        step[place] = 0.05
        slope = (problem.loss(weights + step, 0.1)[0] - problem.loss(weights - step, 0.1)[0]) / 0.1
        assert np.isclose(slope, gradient[place], rtol=0.02, atol=1e-4)


def test_the_coordinates_of_the_search_are_a_change_of_variables(features: Features) -> None:
    rng = np.random.default_rng(2)
    problem = HeadObjective(features, np.ones((IMAGES, 2), bool), np.full(14, 2.0), np.array([0.0, 3.0]))
    curvature = Curvature(problem.correlations(), problem._loss_curvature(), np.array([0.0, 3.0]))
    there = curvature.coordinates(0.3)
    weights, step = rng.normal(size=(2, WIDTH + 1, 2, 14))
    np.testing.assert_allclose(there.weights(there.of(weights)), weights, atol=1e-10)
    assert np.isclose((there.gradient(weights) * step).sum(), (weights * there.weights(step)).sum())
    rows = np.concatenate(features.pooled).astype(np.float64).reshape(-1, WIDTH)
    np.testing.assert_allclose(problem.correlations(), np.corrcoef(rows.T), atol=1e-4)


def test_features_that_are_nearly_the_same_take_few_steps() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=(IMAGES, 1, 1))
    pooled = (5 + common + 0.03 * rng.normal(size=(IMAGES, VIEWS, 60))).astype(np.float16)
    labels = rng.random((IMAGES, 14)) < 1 / (1 + np.exp(2 - 60 * (pooled[:, 0, :14] - pooled[:, 0, 14:28])))
    studies = pd.DataFrame(labels.astype(np.int8), columns=list(FINDINGS)).assign(
        patient=[str(row) for row in range(IMAGES)]
    )
    alike = Features([pooled], [], [np.arange(IMAGES)], studies)
    head = fit_head(alike, np.ones(14), TrainParams(l2=1e-4, folds=2, warm_start=None, shared=0.3))
    assert len(head.curve) < 60 and head_auroc(alike, head.weights, np.ones(14, bool)) > 0.85


@pytest.mark.parametrize(("l2", "grid"), [(2.0, (2.0,)), ((0.1, 3.0, 1.0), (3.0, 1.0, 0.1))])
def test_the_grid_goes_from_the_strongest(l2: float | tuple[float, ...], grid: tuple[float, ...]) -> None:
    assert l2_grid(TrainParams(l2=l2, folds=3, warm_start=None, shared=0.0)) == grid


def test_the_l2_of_the_best_folds_is_taken(features: Features) -> None:
    head = fit_head(features, np.ones(14), TrainParams(l2=(0.01, 100.0, 0.1), folds=3, warm_start=None, shared=0.0))
    table = head.folds.set_index("l2")["mean_auroc"]
    assert sorted(table.index) == [0.01, 0.1, 100.0]
    assert head.l2 == table.idxmax()
    assert (np.diff(head.curve["loss"]) <= 1e-9).all()


def test_the_result_does_not_hang_on_the_chunks(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    params = TrainParams(l2=0.1, folds=2, warm_start=None, shared=0.0)
    whole = fit_head(features, np.ones(14), params).weights
    monkeypatch.setattr(head_objective, "IMAGES_AT_ONCE", 37)
    np.testing.assert_allclose(fit_head(features, np.ones(14), params).weights, whole, atol=1e-3)


def test_a_feature_that_never_varies_does_no_harm(features: Features) -> None:
    dead = [np.concatenate([part, np.full_like(part[..., :1], 3.5)], axis=-1) for part in features.pooled]
    params = TrainParams(l2=0.1, folds=2, warm_start=None, shared=0.0)
    expected = head_logits(features, fit_head(features, np.ones(14), params).weights)
    with_dead = Features(dead, [], features.places, features.studies)
    logits = head_logits(with_dead, fit_head(with_dead, np.ones(14), params).weights)
    np.testing.assert_allclose(logits, expected, atol=2e-2)


def test_logits_are_those_of_the_mean_of_the_prediction_views(features: Features) -> None:
    weights = np.random.default_rng(2).normal(size=(WIDTH + 1, 14)).astype(np.float32)
    pooled = np.concatenate(features.pooled).astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(head_logits(features, weights), pooled @ weights[:-1] + weights[-1], atol=1e-4)


@pytest.mark.parametrize("label", [UNLABELLED, 0, 1])
def test_a_finding_of_weight_0_changes_no_other(label: int, features: Features) -> None:
    params = TrainParams(l2=(0.01, 1.0), folds=3, warm_start=None, shared=0.0)
    four = features.of(FINDINGS[:4])
    alone = fit_head(four, np.linspace(1, 3, 4), params)
    studies = four.studies.copy()
    studies.insert(studies.columns.get_loc(FINDINGS[2]), "Tuberculosis", np.int8(label))
    more = replace(features, studies=studies)
    assert more.findings == (*FINDINGS[:2], "Tuberculosis", *FINDINGS[2:4])
    head = fit_head(more, np.insert(np.linspace(1, 3, 4), 2, 0.0), params)
    for ours, without in ((head.weights, alone.weights), (head.held_out, alone.held_out)):
        np.testing.assert_array_equal(np.delete(ours, 2, axis=1), without)
        assert not ours[:, 2].any()
    assert head.l2 == alone.l2 and head.folds.equals(alone.folds) and head.curve.equals(alone.curve)
    learned = np.insert(np.ones(4, bool), 2, False)
    assert head_auroc(more, head.weights, learned) == head_auroc(four, alone.weights, np.ones(4, bool))
    assert np.isnan(head_auroc(more, head.weights, ~learned))


def test_folds_that_rank_nothing_are_passed_over_and_none_that_does_is_refused(features: Features) -> None:
    params = TrainParams(l2=1.0, folds=3, warm_start=None, shared=0.0)
    folds = np.array([patient_fold(patient, 3) for patient in features.patients])
    rare = features.of(FINDINGS[:1])
    rare.studies[FINDINGS[0]] = (rare.labels[:, 0] * (folds == 1)).astype(np.int8)
    head = fit_head(rare, np.ones(1), params)
    assert np.isfinite(head.weights).all() and head.folds["mean_auroc"].between(0, 1).all()
    rare.studies[FINDINGS[0]] = (folds == 1).astype(np.int8)
    with pytest.raises(UserError, match=r"none of train\.folds 3 has patients with and patients without one of the 1"):
        fit_head(rare, np.ones(1), params)


def test_too_few_patients_for_the_folds_are_said(features: Features) -> None:
    few = Features([features.pooled[0][:2]], [], [np.arange(2)], features.studies[:2])
    with pytest.raises(ValueError, match=r"1 patients are too few for train\.folds 3"):
        fit_head(few, np.ones(14), TrainParams(l2=1.0, folds=3, warm_start=None, shared=0.0))
