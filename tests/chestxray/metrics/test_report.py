"""Metrics: scikit-learn's numbers, intervals that hold what they promise, and a report that says the same."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from chestxray.findings import FINDINGS
from chestxray.inference.headlines import headline
from chestxray.labels import LabelMasks
from chestxray.metrics.confusion import confusion_matrices
from chestxray.metrics.report import classification_report, evaluate
from chestxray.metrics.table import BY_FINDING
from tests.chestxray.sample import columns, masks, names, sample


def leaves(nested):
    for value in nested.values():
        yield from leaves(value) if isinstance(value, dict) else (value,)


def test_counts_by_hand():
    labels, decisions = columns([0, 0, 0, 1, 1, 1]), columns([0, 0, 1, 1, 1, 0])
    labels[:, 1], decisions[:, 1] = 0, 1
    counts = confusion_matrices(masks(labels), decisions).set_index("finding")
    assert list(counts.index) == list(FINDINGS)
    assert dict(counts.loc["Atelectasis"]) == {"tn": 2, "fp": 1, "fn": 1, "tp": 2}
    assert dict(counts.loc["Cardiomegaly"]) == {"tn": 0, "fp": 6, "fn": 0, "tp": 0}


def oracle(score, labels, decisions, average):
    """Scikit-learn's score, which takes a single column for two classes."""
    if labels.shape[1] == 1:
        return score(labels[:, 0], decisions[:, 0], zero_division=0)
    return score(labels, decisions, average=average, zero_division=0)


def test_images_that_nobody_labelled_are_neither_right_nor_wrong():
    labels, decisions = columns([1, 0, 0, 0]), columns([0, 1, 0, 0])
    truth = masks(labels)
    known = LabelMasks(truth.findings, truth.present[:2], truth.absent[:2])
    none = np.zeros((2, len(FINDINGS)), bool)
    wider = LabelMasks(truth.findings, np.vstack([known.present, none]), np.vstack([known.absent, none]))
    people = [str(row) for row in range(4)]
    found = evaluate(wider, np.full((4, len(FINDINGS)), 0.5), decisions, people, min_positives=2)
    assert found["subset_accuracy"] == 0 and found["hamming_loss"] == 1


@pytest.mark.parametrize("findings", [1, 5, 14, 20])
def test_averages_equal_scikit_learn(findings):
    labels, scores, decisions, people = sample(findings, findings=findings)
    decisions[:, 4:5] = False  # precision is nothing of nothing there
    result = evaluate(masks(labels), scores, decisions, people, min_positives=2)
    for average in ("micro", "macro", "weighted"):
        for name in ("precision", "recall", "f1"):
            score = oracle(getattr(sklearn_metrics, f"{name}_score"), labels, decisions, average)
            assert result[f"{average}_{name}"] == pytest.approx(score, abs=1e-6), (average, name)
    assert result["subset_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, decisions), abs=1e-6)
    assert result["hamming_loss"] == pytest.approx(sklearn_metrics.hamming_loss(labels, decisions), abs=1e-6)
    by_finding = oracle(sklearn_metrics.f1_score, labels, decisions, None)
    assert tuple(result["f1"]) == names(findings)
    np.testing.assert_allclose(list(result["f1"].values()), by_finding, atol=1e-6)
    matrices = sklearn_metrics.multilabel_confusion_matrix(labels, decisions)
    counts = confusion_matrices(masks(labels), decisions)[["tn", "fp", "fn", "tp"]]
    np.testing.assert_array_equal(counts, matrices[-findings:].reshape(findings, 4))


def test_the_interval_covers_the_true_auroc_about_as_often_as_it_says():
    true_auroc = NormalDist().cdf(1 / math.sqrt(2))  # positives and negatives one standard deviation apart
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        labels = (generator.random((120, 1)) < 0.4).repeat(14, axis=1)  # every image twice: a patient has two of them
        scores = (generator.normal(size=(120, 1)) + labels[:, :1]).repeat(14, axis=1)
        scores = 1 / (1 + np.exp(-scores))
        twice = [np.concatenate([array, array]) for array in (labels, scores, scores > 0.5, np.arange(120))]
        result = evaluate(masks(twice[0]), *twice[1:], min_positives=2)
        covered += result["mean_auroc_ci_low"] <= true_auroc <= result["mean_auroc_ci_high"]
    assert 88 <= covered <= 99  # 96 as measured; resampling images instead of patients gives 85


def test_the_metrics_are_finite_json_with_the_same_keys_every_time():
    labels, *rest = sample(0)
    first = evaluate(masks(labels), *rest, min_positives=2)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in leaves(first))
    assert all(value == round(value, 6) for value in leaves(first))
    labels, *rest = sample(9, n=50, patients=30)
    second = evaluate(masks(labels), *rest, min_positives=2)
    assert list(first) == list(second)
    for name in ("auroc", "auroc_ci_low", "auroc_ci_high", "average_precision", "f1", "positives"):
        assert tuple(first[name]) == FINDINGS
    for name in ("mean_auroc", "mean_average_precision", "macro_f1", "micro_f1"):
        assert first[f"{name}_ci_low"] <= first[name] <= first[f"{name}_ci_high"]
    assert first["mean_auroc"] == pytest.approx(np.mean(list(first["auroc"].values())), abs=2e-6)
    assert first["n"] == 300
    assert first["patients"] == len(set(sample(0)[3]))


def test_a_finding_without_both_classes_is_counted_out_never_guessed():
    labels, scores, decisions, people = sample(0)
    labels[:, 5], labels[:, 13] = False, True
    result = evaluate(masks(labels), scores, decisions, people, min_positives=2)
    json.dumps(result, allow_nan=False)
    assert result["findings_scored"] == 12
    assert (result["positives"]["Nodule"], result["positives"]["Hernia"]) == (0, 300)
    for name in ("auroc", "auroc_ci_low", "auroc_ci_high", "average_precision", "f1"):
        assert set(FINDINGS) - set(result[name]) == {"Nodule", "Hernia"}
    kept = [finding for finding in range(14) if finding not in (5, 13)]
    expected = sklearn_metrics.roc_auc_score(labels[:, kept], scores[:, kept], average="macro")
    assert result["mean_auroc"] == pytest.approx(expected, abs=1e-6)
    for average in ("macro", "weighted"):
        expected = sklearn_metrics.f1_score(labels[:, kept], decisions[:, kept], average=average)
        assert result[f"{average}_f1"] == pytest.approx(expected, abs=1e-6)
    pooled = sklearn_metrics.f1_score(labels, decisions, average="micro")
    assert result["micro_f1"] == pytest.approx(pooled, abs=1e-6)  # false alarms on an absent finding still count


def test_the_same_images_give_the_same_numbers_in_any_order():
    labels, scores, decisions, people = sample(0)
    first = evaluate(masks(labels), scores, decisions, people, min_positives=2)
    assert json.dumps(first) == json.dumps(evaluate(masks(labels), scores, decisions, people, min_positives=2))
    order = np.random.default_rng(1).permutation(300)
    turned = evaluate(masks(labels[order]), scores[order], decisions[order], people[order], min_positives=2)
    for one, other in zip(leaves(first), leaves(turned), strict=True):
        assert one == pytest.approx(other, abs=2e-6)


def test_what_moves_with_the_prevalence_reaches_lower_where_a_finding_is_just_common_enough():
    labels, scores, _, people = sample(3)
    labels[:, 2] &= np.isin(people, np.unique(people[labels[:, 2]])[:10])  # of ten patients
    asked, common = (evaluate(masks(labels), scores, scores > 0.3, people, min_positives=n) for n in (10, 2))
    for name in ("precision", "f1", "average_precision"):
        low, other = (result[f"{name}_ci_low"]["Effusion"] for result in (asked, common))
        assert low / (1 - low) == pytest.approx(0.543 * other / (1 - other), rel=0.01)
        assert asked[f"{name}_ci_high"]["Effusion"] == common[f"{name}_ci_high"]["Effusion"]
    for name in ("recall", "auroc"):
        assert asked[f"{name}_ci_low"]["Effusion"] == common[f"{name}_ci_low"]["Effusion"]


def test_a_finding_of_few_patients_has_its_figures_no_interval_and_no_part_in_means():
    labels, scores, decisions, people = sample(3)
    labels[:, 2] &= np.isin(people, np.unique(people[labels[:, 2]])[:9])  # of nine patients
    result = evaluate(masks(labels), scores, decisions, people, min_positives=10)
    rare = [name for place, name in enumerate(FINDINGS) if len(set(people[labels[:, place]])) < 10]
    assert "Effusion" in rare and (result["findings_scored"], result["findings_averaged"]) == (14, 14 - len(rare))
    for name in ("auroc", "average_precision", "f1", "recall", "specificity"):
        assert set(result[name]) == set(FINDINGS)
        assert set(result[f"{name}_ci_low"]) == set(result[f"{name}_ci_high"]) == set(FINDINGS) - set(rare)
    for mean, name in (("mean_auroc", "auroc"), ("mean_average_precision", "average_precision"), ("macro_f1", "f1")):
        values = result[name]
        averaged = [value for finding, value in values.items() if finding not in rare]
        assert result[mean] == pytest.approx(np.mean(averaged), abs=2e-6)
        assert result[f"{mean}_of_all"] == pytest.approx(np.mean(list(values.values())), abs=2e-6)
    report = classification_report(masks(labels), decisions, np.full(14, 0.4), result).set_index("finding")
    assert report.loc["macro", "f1"] == result["macro_f1"] != result["macro_f1_of_all"]
    assert report.loc["macro", "recall"] == result["macro_recall"]
    assert (
        np.isnan(report.loc["Effusion", "auroc_ci_low"])
        and report.loc["Effusion", "auroc"] == result["auroc"]["Effusion"]
    )


def test_where_no_finding_has_enough_patients_there_are_points_alone():
    labels, scores, decisions, people = sample(3)
    result = evaluate(masks(labels), scores, decisions, people, min_positives=200)
    assert result["findings_averaged"] == 0 and "mean_auroc" not in result and "macro_f1" not in result
    assert all(not value for name, value in result.items() if name.endswith("_ci_low"))
    assert result["mean_auroc_of_all"] == pytest.approx(np.mean(list(result["auroc"].values())), abs=2e-6)
    assert str(headline(result, "mean_auroc", "mean AUROC")).endswith("(no interval: too few patients)")
    table = classification_report(masks(labels), decisions, np.full(14, 0.4), result).set_index("finding")
    assert np.isnan(table.loc["macro", "auroc"]) and np.isfinite(table.loc["micro", "f1"])


def test_the_figures_of_a_perfect_model_are_not_certain():
    labels, _, _, people = sample(3)
    result = evaluate(masks(labels), labels.astype(float), labels, people, min_positives=10)
    for name in ("auroc", "average_precision", "f1", "recall", "specificity", "precision"):
        assert result[f"{name}_ci_low"]
        for finding, low in result[f"{name}_ci_low"].items():
            assert 0.5 < low < 1 == result[f"{name}_ci_high"][finding]
    for mean, name in (("mean_auroc", "auroc"), ("mean_average_precision", "average_precision"), ("macro_f1", "f1")):
        assert min(result[f"{name}_ci_low"].values()) < result[f"{mean}_ci_low"] < 1 == result[f"{mean}_ci_high"]
    assert 0.9 < result["micro_f1_ci_low"] < 1 == result["micro_f1_ci_high"]


def test_a_model_that_says_the_same_of_all_images_has_a_mean_auroc_that_chance_could_move():
    labels, scores, decisions, people = sample(3)
    result = evaluate(masks(labels), np.full_like(scores, 0.5), decisions, people, min_positives=10)
    assert result["mean_auroc"] == 0.5
    assert 0.3 < result["mean_auroc_ci_low"] < 0.49 and 0.51 < result["mean_auroc_ci_high"] < 0.7


def test_the_interval_holds_the_mean_auroc_of_a_model_that_is_seldom_wrong():
    missed = 0.005  # of images with a finding: they look like those without; most samples have none of them
    true_auroc = (1 - missed) * NormalDist().cdf(5 / math.sqrt(2)) + missed / 2
    covered = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        labels = generator.random((300, 3)) < [0.05, 0.1, 0.2]
        seen = labels & (generator.random((300, 3)) >= missed)
        scores = np.clip((generator.normal(size=(300, 3)) + 5 * seen + 4) / 14, 0, 1)
        result = evaluate(masks(labels), scores, scores > 0.5, np.arange(300), min_positives=10)
        covered += result["mean_auroc_ci_low"] <= true_auroc <= result["mean_auroc_ci_high"]
    assert covered >= 38  # 40 as measured; 21 by the jackknife alone, which gives none to 4


def test_a_rate_has_an_interval_only_over_enough_patients_of_its_own():
    labels, scores, decisions, people = sample(3)
    decisions[:, 13] = False
    decisions[:5, 13] = True  # five patients at most are called positive
    result = evaluate(masks(labels), scores, decisions, people, min_positives=10)
    assert "Hernia" in result["precision"] and "Hernia" not in result["precision_ci_low"]
    assert "Hernia" in result["recall_ci_low"] and "npv_ci_low" not in result


def test_the_report_says_what_the_metrics_say():
    labels, scores, decisions, people = sample(0)
    labels[:, 5] = False
    result = evaluate(masks(labels), scores, decisions, people, min_positives=2)
    report = classification_report(masks(labels), decisions, np.full(14, 0.4), result)
    assert list(report["finding"]) == [*FINDINGS, "micro", "macro", "weighted"]
    rates = ["precision", "recall", "specificity", "f1"]
    ranks = [name for metric in BY_FINDING for name in (metric.name, f"{metric.name}_ci_low", f"{metric.name}_ci_high")]
    shown = [name for name in ranks if isinstance(result.get(name), dict) and name not in rates]
    assert list(report.columns) == ["finding", *rates, *shown, "threshold", "n", "positives"]
    assert {"auroc", "auroc_ci_low", "auroc_ci_high", "average_precision"} <= set(shown)
    rows = report.set_index("finding")
    assert rows.loc["Mass", "auroc_ci_high"] == result["auroc_ci_high"]["Mass"]
    assert rows.loc["macro", "auroc"] == result["mean_auroc"]
    for average in ("micro", "macro", "weighted"):
        assert rows.loc[average, "f1"] == result[f"{average}_f1"]
    assert rows.loc["Nodule", ["precision", "f1", "auroc"]].isna().all()
    specificity = sklearn_metrics.recall_score(~labels[:, 4], ~decisions[:, 4])
    assert rows.loc["Mass", "specificity"] == pytest.approx(specificity, abs=1e-6)
    assert (report["n"] == 300).all()
    assert rows.loc["micro", "positives"] == labels.sum() == rows["positives"].iloc[:14].sum()
    assert rows["threshold"].isna().sum() == 3


def test_wrong_input_is_refused_before_any_work():
    labels, scores, decisions, people = sample(0)

    def refused(message, labels, *arrays_given):
        with pytest.raises(ValueError, match=message):
            evaluate(masks(labels), *arrays_given, min_positives=10)

    refused(r"probabilities must be \(300, 13\).* got \(300, 14\)", labels[:, 1:], scores, decisions, people)
    refused(r"probabilities must be \(300, 14\).*got \(299, 14\)", labels, scores[1:], decisions, people)
    refused("between 0 and 1", labels, scores + 1, decisions, people)
    refused("decisions must hold 0 and 1", labels, scores, scores, people)
    refused(r"patients must be \(300,\)", labels, scores, decisions, people[1:])
    refused("at least 2 patients", labels, scores, decisions, np.full(300, "00001"))
    refused("no finding has both", np.zeros_like(labels), scores, decisions, people)
