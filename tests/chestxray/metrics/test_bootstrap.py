"""Bootstrap: whole patients are drawn, by the seed alone, and a paired comparison knows which model is better."""

import numpy as np
import pandas as pd
import pytest

from chestxray.metrics import bootstrap
from chestxray.metrics.bootstrap import bootstrap_weights, interval, paired_bootstrap
from chestxray.metrics.ranking import auroc
from chestxray.metrics.report import evaluate
from tests.chestxray.sample import masks, sample


def test_a_resample_is_made_of_whole_patients_as_many_as_there_are():
    people = sample(2)[3]
    weights = np.concatenate(list(bootstrap_weights(people, 50, seed=3)))
    assert weights.shape == (50, 300)
    by_patient = pd.DataFrame(weights.T).groupby(people)
    assert (by_patient.min() == by_patient.max()).all(axis=None)
    assert (by_patient.first().sum() == len(np.unique(people))).all()
    assert weights.var() > 0.5


def test_draws_hang_on_seed_and_patients_only(monkeypatch):
    people = sample(2)[3]
    weights = np.concatenate(list(bootstrap_weights(people, 40, seed=3)))
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(np.concatenate(list(bootstrap_weights(people[order], 40, 3))), weights[:, order])
    assert (np.concatenate(list(bootstrap_weights(people, 40, seed=4))) != weights).any()
    monkeypatch.setattr(bootstrap, "CHUNK", 7 * 300)
    chunks = list(bootstrap_weights(people, 40, seed=3))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate(chunks), weights)


def test_an_interval_leaves_out_what_does_not_exist():
    samples = np.random.default_rng(0).permutation(np.append(np.arange(201.0), [np.nan] * 50))
    assert interval(samples) == (5, 195)
    assert np.isnan(interval(np.full(3, np.nan))).all()


def test_a_paired_comparison_knows_better_same_and_worse():
    labels, scores, _, people = sample(6, n=400, patients=200)
    worse = scores + np.random.default_rng(0).normal(0, 0.5, scores.shape)
    same = paired_bootstrap(masks(labels), scores, np.log(scores + 1), people, resamples=100, seed=0)
    assert same == (0, 0, 0)
    better = paired_bootstrap(masks(labels), scores, worse, people, resamples=200, seed=0)
    assert 0 < better.low < better.value < better.high
    assert better.value == pytest.approx(np.mean(auroc(masks(labels), scores) - auroc(masks(labels), worse)))
    swapped = paired_bootstrap(masks(labels), worse, scores, people, resamples=200, seed=0)
    np.testing.assert_allclose(swapped, [-better.value, -better.high, -better.low])


def test_pairing_is_sharper_than_two_separate_intervals():
    labels, scores, decisions, people = sample(7)
    other = (scores + np.random.default_rng(0).normal(0, 0.02, scores.shape)).clip(0, 1)
    paired = paired_bootstrap(masks(labels), scores, other, people, resamples=200, seed=0)
    alone = evaluate(masks(labels), scores, decisions, people, resamples=200, seed=0)
    assert paired.high - paired.low < 0.3 * (alone["mean_auroc_ci_high"] - alone["mean_auroc_ci_low"])


def test_wrong_input_is_refused():
    labels, scores, _, people = sample(0)
    with pytest.raises(ValueError, match="scores_b"):
        paired_bootstrap(masks(labels), scores, scores * np.nan, people, resamples=5, seed=0)
    with pytest.raises(ValueError, match="at least 2 patients"):
        paired_bootstrap(masks(labels), scores, scores, np.zeros(300), resamples=5, seed=0)
    with pytest.raises(ValueError, match="no finding has both"):
        paired_bootstrap(masks(np.ones_like(labels)), scores, scores, people, resamples=5, seed=0)
