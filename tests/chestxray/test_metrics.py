"""Metrics: closed forms, scikit-learn's numbers, and intervals that hold what they promise."""

import json
import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics

from chestxray import metrics
from chestxray.findings import FINDINGS
from chestxray.metrics import (
    auroc,
    average_precision,
    bootstrap_weights,
    classification_report,
    confusion_matrices,
    curves,
    evaluate,
    paired_bootstrap,
)

PREVALENCE = np.linspace(0.05, 0.5, 14)


def columns(values):
    return np.repeat(np.asarray(values)[:, None], 14, axis=1)


def sample(seed, n=300, patients=150, decimals=2):
    """Truth, probabilities with ties, decisions, patients."""
    generator = np.random.default_rng(seed)
    truth = generator.random((n, 14)) < PREVALENCE
    probabilities = (1 / (1 + np.exp(1 - truth - generator.normal(size=(n, 14))))).round(decimals)
    people = np.array([f"{patient:05d}" for patient in generator.integers(patients, size=n)])
    return truth, probabilities, probabilities > 0.4, people


def leaves(nested):
    for value in nested.values():
        yield from leaves(value) if isinstance(value, dict) else (value,)


# Ranking


@pytest.mark.parametrize(
    ("truth", "scores", "area", "precision"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 1.0, 1.0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], 0.0, (1 / 3 + 2 / 4) / 2),
        ([0, 1, 0, 1, 0], [0.5] * 5, 0.5, 2 / 5),
        ([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], 3 / 4, (1 + 2 / 3) / 2),
        ([1, 0, 0, 1], [0.9, 0.5, 0.1, 0.5], 3.5 / 4, (1 + 2 / 3) / 2),
        ([0, 1], [-1e9, 1e9], 1.0, 1.0),
    ],
)
def test_hand_worked_rankings(truth, scores, area, precision):
    np.testing.assert_allclose(auroc(columns(truth), columns(scores)), area, rtol=1e-15)
    np.testing.assert_allclose(average_precision(columns(truth), columns(scores)), precision, rtol=1e-15)


@pytest.mark.parametrize("decimals", [0, 1, 2, 8])
def test_ranking_equals_scikit_learn_ties_included(decimals):
    truth, scores, _, _ = sample(0, decimals=decimals)
    np.testing.assert_allclose(auroc(truth, scores), sklearn_metrics.roc_auc_score(truth, scores, average=None))
    expected = sklearn_metrics.average_precision_score(truth, scores, average=None)
    np.testing.assert_allclose(average_precision(truth, scores), expected)


@given(arrays.arrays(np.int64, (30, 14), elements=st.integers(-8, 8)), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_auroc_knows_only_order(scores, random):
    truth = np.array([[random.random() < 0.3 for _ in range(14)] for _ in range(30)])
    truth[0], truth[1] = True, False
    area = auroc(truth, scores)
    np.testing.assert_array_equal(auroc(truth, np.exp(scores / 4) - 100), area)
    np.testing.assert_allclose(auroc(truth, -scores), 1 - area, atol=1e-15)
    np.testing.assert_allclose(auroc(~truth, scores), 1 - area, atol=1e-15)
    order = list(range(30))
    random.shuffle(order)
    np.testing.assert_array_equal(auroc(truth[order], scores[order]), area)


def test_a_finding_without_both_classes_has_no_auroc():
    truth, scores, _, _ = sample(1)
    truth[:, 0], truth[:, 13] = False, True
    assert np.isnan(auroc(truth, scores)[[0, 13]]).all()
    assert np.isnan(average_precision(truth, scores)[[0, 13]]).all()
    assert np.isfinite(auroc(truth, scores)[1:13]).all()


# Bootstrap


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
    monkeypatch.setattr(metrics, "CHUNK", 7 * 300)
    chunks = list(bootstrap_weights(people, 40, seed=3))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate(chunks), weights)


def explicit(function, weights, truth, scores):
    """Each resample spelled out, image by image, and scored by scikit-learn; findings that lost a class left out."""
    values = []
    for row in weights:
        y, p = truth.repeat(row, axis=0), scores.repeat(row, axis=0)
        values.append([
            function(y[:, finding], p[:, finding]) if 0 < y[:, finding].sum() < len(y) else np.nan
            for finding in range(14)
        ])  # fmt: skip
    return np.array(values)


def f1(truth, decisions):
    return sklearn_metrics.f1_score(truth, decisions, zero_division=0)


def test_intervals_equal_those_of_explicit_resampling():
    truth, scores, decisions, people = sample(4, n=80, patients=30)
    truth[:, 2] = False
    truth[:3, 2] = True  # so rare that some resamples lose it
    result = evaluate(truth, scores, decisions, people, resamples=60, seed=5)
    weights = np.concatenate(list(bootstrap_weights(people, 60, seed=5)))
    area = explicit(sklearn_metrics.roc_auc_score, weights, truth, scores)
    assert np.isnan(area[:, 2]).any()

    def bounds(samples):
        return np.nanquantile(samples, [0.025, 0.975])

    for finding, name in enumerate(FINDINGS):
        given_bounds = [result["auroc_ci_low"][name], result["auroc_ci_high"][name]]
        np.testing.assert_allclose(given_bounds, bounds(area[:, finding]), atol=1e-6)
    pooled = [f1(truth.repeat(row, axis=0).ravel(), decisions.repeat(row, axis=0).ravel()) for row in weights]
    expected = {
        "mean_auroc": np.nanmean(area, axis=1),
        "mean_average_precision": np.nanmean(
            explicit(sklearn_metrics.average_precision_score, weights, truth, scores), axis=1
        ),
        "macro_f1": np.nanmean(explicit(f1, weights, truth, decisions), axis=1),
        "micro_f1": pooled,
    }
    for name, samples in expected.items():
        np.testing.assert_allclose([result[f"{name}_ci_low"], result[f"{name}_ci_high"]], bounds(samples), atol=1e-6)


def test_the_interval_covers_the_true_auroc_about_as_often_as_it_says():
    true_auroc = NormalDist().cdf(1 / math.sqrt(2))  # positives and negatives one standard deviation apart
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        truth = (generator.random((120, 1)) < 0.4).repeat(14, axis=1)  # every image twice: a patient has two of them
        scores = (generator.normal(size=(120, 1)) + truth[:, :1]).repeat(14, axis=1)
        scores = 1 / (1 + np.exp(-scores))
        twice = [np.concatenate([array, array]) for array in (truth, scores, scores > 0.5, np.arange(120))]
        result = evaluate(*twice, resamples=200, seed=seed)
        covered += result["mean_auroc_ci_low"] <= true_auroc <= result["mean_auroc_ci_high"]
    assert 88 <= covered <= 99  # 96 as measured; resampling images instead of patients gives 85


def test_a_paired_comparison_knows_better_same_and_worse():
    truth, scores, _, people = sample(6, n=400, patients=200)
    worse = scores + np.random.default_rng(0).normal(0, 0.5, scores.shape)
    same = paired_bootstrap(truth, scores, np.log(scores + 1), people, resamples=100, seed=0)
    assert same == (0, 0, 0)
    better = paired_bootstrap(truth, scores, worse, people, resamples=200, seed=0)
    assert 0 < better.low < better.value < better.high
    assert better.value == pytest.approx(np.mean(auroc(truth, scores) - auroc(truth, worse)))
    swapped = paired_bootstrap(truth, worse, scores, people, resamples=200, seed=0)
    np.testing.assert_allclose(swapped, [-better.value, -better.high, -better.low])


def test_pairing_is_sharper_than_two_separate_intervals():
    truth, scores, decisions, people = sample(7)
    other = (scores + np.random.default_rng(0).normal(0, 0.02, scores.shape)).clip(0, 1)
    paired = paired_bootstrap(truth, scores, other, people, resamples=200, seed=0)
    alone = evaluate(truth, scores, decisions, people, resamples=200, seed=0)
    assert paired.high - paired.low < 0.3 * (alone["mean_auroc_ci_high"] - alone["mean_auroc_ci_low"])


# Decisions


def test_counts_by_hand():
    truth, decisions = columns([0, 0, 0, 1, 1, 1]), columns([0, 0, 1, 1, 1, 0])
    truth[:, 1], decisions[:, 1] = 0, 1
    counts = confusion_matrices(truth, decisions).set_index("finding")
    assert list(counts.index) == list(FINDINGS)
    assert dict(counts.loc["Atelectasis"]) == {"tn": 2, "fp": 1, "fn": 1, "tp": 2}
    assert dict(counts.loc["Cardiomegaly"]) == {"tn": 0, "fp": 6, "fn": 0, "tp": 0}


@pytest.mark.parametrize("seed", range(3))
def test_averages_equal_scikit_learn(seed):
    truth, scores, decisions, people = sample(seed)
    decisions[:, 4] = False  # precision is nothing of nothing there
    result = evaluate(truth, scores, decisions, people, resamples=5, seed=0)
    for average in ("micro", "macro", "weighted"):
        for name in ("precision", "recall", "f1"):
            score = getattr(sklearn_metrics, f"{name}_score")(truth, decisions, average=average, zero_division=0)
            assert result[f"{average}_{name}"] == pytest.approx(score, abs=1e-6), (average, name)
    assert result["subset_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, decisions), abs=1e-6)
    assert result["hamming_loss"] == pytest.approx(sklearn_metrics.hamming_loss(truth, decisions), abs=1e-6)
    by_finding = sklearn_metrics.f1_score(truth, decisions, average=None, zero_division=0)
    np.testing.assert_allclose(list(result["f1"].values()), by_finding, atol=1e-6)
    matrices = sklearn_metrics.multilabel_confusion_matrix(truth, decisions)
    counts = confusion_matrices(truth, decisions)[["tn", "fp", "fn", "tp"]]
    np.testing.assert_array_equal(counts, matrices.reshape(14, 4))


# The whole


def test_the_metrics_are_finite_json_with_the_same_keys_every_time():
    first = evaluate(*sample(0), resamples=20, seed=0)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in leaves(first))
    assert all(value == round(value, 6) for value in leaves(first))
    second = evaluate(*sample(9, n=50, patients=30), resamples=20, seed=1)
    assert list(first) == list(second)
    for name in ("auroc", "auroc_ci_low", "auroc_ci_high", "average_precision", "f1", "positives"):
        assert tuple(first[name]) == FINDINGS
    for name in ("mean_auroc", "mean_average_precision", "macro_f1", "micro_f1"):
        assert first[f"{name}_ci_low"] <= first[name] <= first[f"{name}_ci_high"]
    assert first["mean_auroc"] == pytest.approx(np.mean(list(first["auroc"].values())), abs=2e-6)
    assert first["n"] == 300
    assert first["patients"] == len(set(sample(0)[3]))


def test_a_finding_without_both_classes_is_counted_out_never_guessed():
    truth, scores, decisions, people = sample(0)
    truth[:, 5], truth[:, 13] = False, True
    result = evaluate(truth, scores, decisions, people, resamples=20, seed=0)
    json.dumps(result, allow_nan=False)
    assert result["findings_scored"] == 12
    assert (result["positives"]["Nodule"], result["positives"]["Hernia"]) == (0, 300)
    for name in ("auroc", "auroc_ci_low", "auroc_ci_high", "average_precision", "f1"):
        assert set(FINDINGS) - set(result[name]) == {"Nodule", "Hernia"}
    kept = [finding for finding in range(14) if finding not in (5, 13)]
    expected = sklearn_metrics.roc_auc_score(truth[:, kept], scores[:, kept], average="macro")
    assert result["mean_auroc"] == pytest.approx(expected, abs=1e-6)
    for average in ("macro", "weighted"):
        expected = sklearn_metrics.f1_score(truth[:, kept], decisions[:, kept], average=average)
        assert result[f"{average}_f1"] == pytest.approx(expected, abs=1e-6)
    pooled = sklearn_metrics.f1_score(truth, decisions, average="micro")
    assert result["micro_f1"] == pytest.approx(pooled, abs=1e-6)  # false alarms on an absent finding still count


def test_the_seed_decides_the_intervals_and_nothing_else():
    data = sample(0)
    first, again, other = (evaluate(*data, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["auroc"] == other["auroc"]
    assert first["mean_auroc_ci_low"] != other["mean_auroc_ci_low"]


def test_the_report_says_what_the_metrics_say():
    truth, scores, decisions, people = sample(0)
    truth[:, 5] = False
    result = evaluate(truth, scores, decisions, people, resamples=20, seed=0)
    report = classification_report(truth, decisions, np.full(14, 0.4), result)
    assert list(report["finding"]) == [*FINDINGS, "micro", "macro", "weighted"]
    rates = ["precision", "recall", "specificity", "f1"]
    ranks = ["auroc", "auroc_ci_low", "auroc_ci_high", "average_precision"]
    assert list(report.columns) == ["finding", *rates, *ranks, "threshold", "n", "positives"]
    rows = report.set_index("finding")
    assert rows.loc["Mass", "auroc_ci_high"] == result["auroc_ci_high"]["Mass"]
    assert rows.loc["macro", "auroc"] == result["mean_auroc"]
    for average in ("micro", "macro", "weighted"):
        assert rows.loc[average, "f1"] == result[f"{average}_f1"]
    assert rows.loc["Nodule", ["precision", "f1", "auroc"]].isna().all()
    specificity = sklearn_metrics.recall_score(~truth[:, 4], ~decisions[:, 4])
    assert rows.loc["Mass", "specificity"] == pytest.approx(specificity, abs=1e-6)
    assert (report["n"] == 300).all()
    assert rows.loc["micro", "positives"] == truth.sum() == rows["positives"].iloc[:14].sum()
    assert rows["threshold"].isna().sum() == 3


# Curves


def test_curves_enclose_the_areas_they_stand_for():
    truth, scores, _, _ = sample(0)
    roc, precision_recall = curves(truth, scores)
    for finding, name in enumerate(FINDINGS):
        points = roc[roc["finding"] == name]
        assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(auroc(truth, scores)[finding], abs=1e-4)
        steps = precision_recall[precision_recall["finding"] == name]
        area = np.sum(np.diff(steps["recall"]) * steps["precision"].iloc[1:])
        assert area == pytest.approx(average_precision(truth, scores)[finding], abs=1e-4)


def test_curves_are_short_and_keep_their_ends():
    truth, scores, _, _ = sample(0, n=5000, decimals=8)
    truth[:, 5] = False
    roc, precision_recall = curves(truth, scores)
    assert set(roc["finding"]) == set(precision_recall["finding"]) == set(FINDINGS) - {"Nodule"}
    assert roc.groupby("finding").size().max() == precision_recall.groupby("finding").size().max() == 200
    for name, points in roc.groupby("finding"):
        assert points.iloc[0].tolist() == [name, 0, 0]
        assert points.iloc[-1].tolist() == [name, 1, 1]
        assert (points[["fpr", "tpr"]].diff().iloc[1:] >= 0).all(axis=None)
        area = auroc(truth, scores)[FINDINGS.index(name)]
        assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(area, abs=2e-3)
    for _, points in precision_recall.groupby("finding"):
        assert (points["recall"].iloc[0], points["recall"].iloc[-1]) == (0, 1)


# What is refused


def test_wrong_input_is_refused_before_any_work():
    truth, scores, decisions, people = sample(0)

    def refused(message, *arrays_given, resamples=10):
        with pytest.raises(ValueError, match=message):
            evaluate(*arrays_given, resamples=resamples, seed=0)

    refused(r"truth must be .* got \(300, 13\)", truth[:, 1:], scores, decisions, people)
    refused(r"probabilities must be \(300, 14\).*got \(299, 14\)", truth, scores[1:], decisions, people)
    refused("between 0 and 1", truth, scores + 1, decisions, people)
    refused("decisions must hold 0 and 1", truth, scores, scores, people)
    refused(r"patients must be \(300,\)", truth, scores, decisions, people[1:])
    refused("at least 2 patients", truth, scores, decisions, np.full(300, "00001"))
    refused("no finding has both", np.zeros_like(truth), scores, decisions, people)
    refused("at least 1 resample", truth, scores, decisions, people, resamples=0)
    with pytest.raises(ValueError, match="scores_b"):
        paired_bootstrap(truth, scores, scores * np.nan, people, resamples=5, seed=0)
    with pytest.raises(ValueError, match="no finding has both"):
        curves(np.ones_like(truth), scores)
