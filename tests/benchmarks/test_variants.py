"""What recipes that were tried compute: of `benchmarks.variants`."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime

from benchmarks.variants import MarginObjective, fit_co_occurrence, mean_weights, recipes
from chestxray.training.features import Features
from chestxray.training.head_objective import HeadObjective

IMAGES, VIEWS, FEATURES = 12, 2, 3


@pytest.fixture
def features() -> Features:
    rng = np.random.default_rng(0)
    pooled = rng.normal(size=(IMAGES, VIEWS, FEATURES)).astype(np.float16)
    labels = pd.DataFrame({"Mass": np.arange(IMAGES) % 2, "Nodule": np.arange(IMAGES) % 3 == 0}, dtype=np.int8)
    return Features([pooled], [], [np.arange(IMAGES)], labels)


def objective(features: Features, margins: list[float] | None) -> HeadObjective:
    others = (features, np.ones((IMAGES, 1), bool), np.array([2.0, 1.0]), np.array([0.3]))
    return HeadObjective(*others) if margins is None else MarginObjective(np.array(margins, np.float32), *others)


def test_without_margins_the_loss_is_that_of_the_head_and_with_them_it_is_more(features: Features) -> None:
    weights = np.random.default_rng(1).normal(size=(FEATURES + 1, 1, 2))
    plain, margin = objective(features, None).loss(weights, 1.0), objective(features, [0.0, 0.0]).loss(weights, 1.0)
    assert margin[0] == plain[0]
    np.testing.assert_array_equal(margin[1], plain[1])
    assert objective(features, [0.5, 0.0]).loss(weights, 1.0)[0] > plain[0]


def test_the_gradient_with_margins_is_that_of_the_loss(features: Features) -> None:
    problem = objective(features, [0.5, 1.0])
    weights = np.random.default_rng(2).normal(size=(FEATURES + 1, 1, 2))
    found = approx_fprime(weights.ravel(), lambda flat: problem.loss(flat.reshape(weights.shape), 1.0)[0], 1e-3)
    np.testing.assert_allclose(problem.loss(weights, 1.0)[1].ravel(), found, atol=2e-3)


def test_co_occurrence_learns_that_one_finding_tells_of_another() -> None:
    rng = np.random.default_rng(3)
    odds = rng.normal(scale=2, size=(4000, 2))
    labels = (rng.random((4000, 2)) < 1 / (1 + np.exp(-np.column_stack([odds[:, 0], odds[:, 1] + odds[:, 0]])))).astype(
        np.int8
    )
    change, bias = fit_co_occurrence(odds, labels, l2=1.0)
    np.testing.assert_allclose(change, [[0, 1], [0, 0]], atol=0.15)
    np.testing.assert_allclose(bias, 0, atol=0.15)
    held, _ = fit_co_occurrence(odds, labels, l2=1e9)
    np.testing.assert_allclose(held, 0, atol=1e-4)


def test_weights_are_averaged_array_by_array() -> None:
    one, other = ({"a": [np.full(2, x, np.float32)], "b": [np.full(1, -x, np.float32)]} for x in (1.0, 3.0))
    (a,), (b,) = mean_weights([one, other]).values()
    assert a.tolist() == [2, 2] and b.tolist() == [-2] and a.dtype == np.float32


def test_every_recipe_has_a_name_and_the_default_is_among_them() -> None:
    assert next(iter(recipes())) == "last layer, nothing shared, fine-tuned" and "two taps, fine-tuned" in recipes()
