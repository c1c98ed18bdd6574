"""A sweep trains what it is asked for, and says how much of the best one's gain is the luck of having chosen."""

import numpy as np
import pytest

from chestxray.findings import FINDINGS
from chestxray.labels import LabelMasks, label_masks
from chestxray.metrics.ranking import mean_auroc
from chestxray.params import TrainParams
from chestxray.training.features import Features
from chestxray.training.linear_head import fit_each, fit_head
from chestxray.training.sweep import Candidate, choose
from tests.chestxray.training.test_linear_head import features  # noqa: F401 # a fixture

PATIENTS = np.array([f"p{row // 2}" for row in range(400)])
TRUTH = np.random.default_rng(0).random((400, 3)) < 0.3
LABELS = label_masks(TRUTH, FINDINGS[:3])


def logits(seed: int, shift: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=TRUTH.shape)
    return (noise + shift * TRUTH).astype(np.float32)


def test_heads_that_share_passes_are_those_that_are_fitted_alone(features: Features) -> None:  # noqa: F811
    some = features.of(FINDINGS[:3])
    found = list(fit_each(some, np.ones(3), (0.1, 3.0), (0.0, 2.0)))
    assert [pair[:2] for pair in found] == [(3.0, 0.0), (3.0, 2.0), (0.1, 0.0), (0.1, 2.0)]
    for l2, shared, weights in found:
        alone = fit_head(some, np.ones(3), TrainParams(l2=l2, folds=2, warm_start=None, shared=shared))
        rows = np.concatenate(some.pooled).astype(np.float64)
        np.testing.assert_allclose(rows @ (weights - alone.weights)[:-1] + (weights - alone.weights)[-1], 0, atol=1e-2)


def test_among_equals_the_gain_of_the_best_is_the_bias_of_choosing() -> None:
    patients, left = np.array([f"p{row // 2}" for row in range(120)]), []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        truth = rng.random((120, 2)) < 0.3
        equals = [(rng.normal(size=truth.shape) + truth).astype(np.float32) for _ in range(9)]
        labels = label_masks(truth, FINDINGS[:2])
        choice = choose([Candidate("head", {}, (each,)) for each in equals[1:]], equals[0], labels, patients)
        scores = [mean_auroc(labels, each) for each in equals[1:]]
        assert choice.best == int(np.argmax(scores)) and np.allclose(choice.scores[:, 0], scores)
        left.append((choice.apparent, choice.nested))
    apparent, nested = np.mean(left, axis=0)
    assert apparent > 0.03 and abs(nested) < 0.02


def test_what_is_better_by_far_is_chosen_in_every_fold_and_keeps_its_gain() -> None:
    candidates = [
        Candidate("head", {"train.l2": 1.0}, (logits(1, 1.0),)),
        Candidate("head", {}, (logits(2, 1.0), logits(3, 3.0))),
    ]
    choice = choose(candidates, logits(0, 1.0), LABELS, PATIENTS)
    assert choice.best == 1 and int(np.nanargmax(choice.scores[1])) == 1 and np.isnan(choice.scores[0, 1])
    assert choice.nested == choice.apparent > 0.15
    diverged = Candidate("fine-tuning", {}, (np.full_like(logits(4, 0.0), np.nan),))
    assert choose([*candidates, diverged], logits(0, 1.0), LABELS, PATIENTS).scores[2, 0] == 0
    assert choice.gain.value == pytest.approx(np.nanmax(choice.scores) - choice.baseline)


def test_too_few_patients_say_nothing_of_the_bias() -> None:
    labels = LabelMasks(FINDINGS[:1], np.array([[True], [False]]), np.array([[False], [True]]))
    candidate = Candidate("head", {}, (np.array([[1.0], [0.0]], np.float32),))
    choice = choose([candidate], np.zeros((2, 1), np.float32), labels, np.array(["a", "b"]))
    assert choice.baseline == 0.5 and np.isnan(choice.nested) and np.isnan(choice.apparent)
