"""Ranking: closed forms, scikit-learn's numbers, and curves that enclose the areas they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics

from chestxray.findings import FINDINGS
from chestxray.metrics.ranking import auroc, average_precision, curves, mean_auroc
from tests.chestxray.sample import columns, masks, names, sample


@pytest.mark.parametrize(
    ("labels", "scores", "area", "precision"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 1.0, 1.0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], 0.0, (1 / 3 + 2 / 4) / 2),
        ([0, 1, 0, 1, 0], [0.5] * 5, 0.5, 2 / 5),
        ([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], 3 / 4, (1 + 2 / 3) / 2),
        ([1, 0, 0, 1], [0.9, 0.5, 0.1, 0.5], 3.5 / 4, (1 + 2 / 3) / 2),
        ([0, 1], [-1e9, 1e9], 1.0, 1.0),
    ],
)
def test_hand_worked_rankings(labels, scores, area, precision):
    np.testing.assert_allclose(auroc(masks(columns(labels)), columns(scores)), area, rtol=1e-15)
    np.testing.assert_allclose(average_precision(masks(columns(labels)), columns(scores)), precision, rtol=1e-15)


@pytest.mark.parametrize("findings", [1, 5, 14, 20])
@pytest.mark.parametrize("decimals", [0, 1, 2, 8])
def test_ranking_equals_scikit_learn_ties_included(decimals, findings):
    labels, scores, _, _ = sample(0, decimals=decimals, findings=findings)
    for ours, theirs in (
        (auroc, sklearn_metrics.roc_auc_score),
        (average_precision, sklearn_metrics.average_precision_score),
    ):
        expected = [theirs(*column) for column in zip(labels.T, scores.T, strict=True)]
        np.testing.assert_allclose(ours(masks(labels), scores), expected)


@given(arrays.arrays(np.int64, (30, 14), elements=st.integers(-8, 8)), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_auroc_knows_only_order(scores, random):
    labels = np.array([[random.random() < 0.3 for _ in range(14)] for _ in range(30)])
    labels[0], labels[1] = True, False
    area = auroc(masks(labels), scores)
    np.testing.assert_array_equal(auroc(masks(labels), np.exp(scores / 4) - 100), area)
    np.testing.assert_allclose(auroc(masks(labels), -scores), 1 - area, atol=1e-15)
    np.testing.assert_allclose(auroc(masks(~labels), scores), 1 - area, atol=1e-15)
    order = list(range(30))
    random.shuffle(order)
    np.testing.assert_array_equal(auroc(masks(labels[order]), scores[order]), area)


def test_a_finding_without_both_classes_has_no_auroc():
    labels, scores, _, _ = sample(1)
    labels[:, 0], labels[:, 13] = False, True
    assert np.isnan(auroc(masks(labels), scores)[[0, 13]]).all()
    assert np.isnan(average_precision(masks(labels), scores)[[0, 13]]).all()
    assert np.isfinite(auroc(masks(labels), scores)[1:13]).all()


def test_the_mean_auroc_is_over_the_findings_that_have_both_classes():
    labels, scores = columns([1, 0, 1, 0]), columns([0.9, 0.8, 0.7, 0.1])
    labels[:, 0], scores[:, 1] = [1, 1, 0, 0], 0.5  # areas 1 and 1/2; 3/4 for the rest
    assert mean_auroc(masks(labels), scores) == pytest.approx((1 + 1 / 2 + 12 * 3 / 4) / 14, rel=1e-15)
    labels[:, 2:] = 1
    assert mean_auroc(masks(labels), scores) == pytest.approx((1 + 1 / 2) / 2, rel=1e-15)
    labels[:, :2] = 0
    with pytest.raises(ValueError, match="no finding has both positives and negatives in these 4 images"):
        mean_auroc(masks(labels), scores)


@pytest.mark.parametrize("findings", [1, 5, 14, 20])
def test_curves_enclose_the_areas_they_stand_for(findings):
    labels, scores, _, _ = sample(0, findings=findings)
    roc, precision_recall = curves(masks(labels), scores)
    for finding, name in enumerate(names(findings)):
        points = roc[roc["finding"] == name]
        area = np.trapezoid(points["tpr"], points["fpr"])
        assert area == pytest.approx(auroc(masks(labels), scores)[finding], abs=1e-4)
        steps = precision_recall[precision_recall["finding"] == name]
        area = np.sum(np.diff(steps["recall"]) * steps["precision"].iloc[1:])
        assert area == pytest.approx(average_precision(masks(labels), scores)[finding], abs=1e-4)


def test_curves_are_short_and_keep_their_ends():
    labels, scores, _, _ = sample(0, n=5000, decimals=8)
    labels[:, 5] = False
    roc, precision_recall = curves(masks(labels), scores)
    assert set(roc["finding"]) == set(precision_recall["finding"]) == set(FINDINGS) - {"Nodule"}
    assert roc.groupby("finding").size().max() == precision_recall.groupby("finding").size().max() == 200
    for name, points in roc.groupby("finding"):
        assert points.iloc[0].tolist() == [name, 0, 0]
        assert points.iloc[-1].tolist() == [name, 1, 1]
        assert (points[["fpr", "tpr"]].diff().iloc[1:] >= 0).all(axis=None)
        area = auroc(masks(labels), scores)[FINDINGS.index(name)]
        assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(area, abs=2e-3)
    for _, points in precision_recall.groupby("finding"):
        assert (points["recall"].iloc[0], points["recall"].iloc[-1]) == (0, 1)


def test_wrong_input_is_refused():
    labels, scores, _, _ = sample(0)
    for function in (auroc, average_precision, mean_auroc):
        with pytest.raises(ValueError, match=r"scores must be \(300, 14\).*got \(299, 14\)"):
            function(masks(labels), scores[1:])
    with pytest.raises(ValueError, match="probabilities must be finite"):
        curves(masks(labels), scores * np.nan)
    with pytest.raises(ValueError, match="no finding has both"):
        curves(masks(np.ones_like(labels)), scores)
