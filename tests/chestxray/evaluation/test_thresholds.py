"""Thresholds: the best of all cuts, no better one exists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from chestxray.evaluation.thresholds import NEVER, fit_thresholds, wanted_sensitivity
from chestxray.inference.decisions import decide
from tests.chestxray.sample import masks

LEARNED = ("learned",) * 14
POLICIES = ("f1", "youden", "sensitivity@0.80")


def columns(values):
    return np.repeat(np.asarray(values)[:, None], 14, axis=1)


def counts(labels, called):
    return tuple(
        np.count_nonzero(cell) for cell in (labels & called, ~labels & called, labels & ~called, ~labels & ~called)
    )


def merit(policy, labels, called):
    """What the policy wants most, written out plainly, with the highest specificity among equals."""
    tp, fp, fn, tn = counts(labels, called)
    value = {
        "f1": 2 * tp / (2 * tp + fp + fn) if tp else 0.0,
        "youden": tp * (tn + fp) - fp * (tp + fn),
        "sensitivity@0.80": float(tp >= 0.8 * (tp + fn)),
    }[policy]
    return value, -fp


@pytest.mark.parametrize("policy", POLICIES)
@given(
    labels=arrays.arrays(bool, (25, 14)),
    probability=arrays.arrays(
        np.float32, (25, 14), elements=st.sampled_from(np.linspace(0, 0.96, 9, dtype=np.float32))
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_cut_is_better_and_none_as_good_is_more_specific(policy, labels, probability):
    thresholds = fit_thresholds(masks(labels), probability, policy)
    decisions = decide(probability, thresholds, LEARNED)
    for finding in range(14):
        y, p = labels[:, finding], probability[:, finding]
        if y.any() and not y.all():
            best = max(merit(policy, y, p >= cut) for cut in [*np.unique(p), 2.0])
            assert merit(policy, y, decisions[:, finding]) == best
        else:
            assert thresholds[finding] == NEVER


def test_the_threshold_stands_midway_between_neighbours():
    labels, p = columns([0, 0, 1, 1]), columns([0.1, 0.2, 0.6, 0.9])
    np.testing.assert_allclose(fit_thresholds(masks(labels), p, "f1"), 0.4)
    np.testing.assert_allclose(fit_thresholds(masks(labels), p, "youden"), 0.4)
    np.testing.assert_allclose(fit_thresholds(masks(labels), p, "sensitivity@0.5"), 0.75)
    np.testing.assert_allclose(fit_thresholds(masks(columns([1, 1, 0, 1])), p, "sensitivity@1"), 0.05)


def test_youden_decides_nothing_where_every_cut_is_worse_than_chance():
    labels, p = columns([1, 1, 0, 0]), columns([0.1, 0.2, 0.6, 0.9])
    thresholds = fit_thresholds(masks(labels), p, "youden")
    np.testing.assert_allclose(thresholds, 0.95)
    assert not decide(p, thresholds, LEARNED).any()


@pytest.mark.parametrize("below", [0.3, np.nextafter(0.3, 1)])  # one middle rounds up, the other down
def test_neighbours_with_nothing_between_them_are_still_told_apart(below):
    p = columns([below, np.nextafter(below, 1)])
    np.testing.assert_array_equal(
        decide(p, fit_thresholds(masks(columns([0, 1])), p, "f1"), LEARNED), columns([False, True])
    )


def test_one_positive_is_enough():
    labels = np.zeros((50, 14), bool)
    labels[17] = True
    p = np.random.default_rng(0).random((50, 14)) * 0.5
    p[17] = 0.8
    np.testing.assert_array_equal(decide(p, fit_thresholds(masks(labels), p, "f1"), LEARNED), labels)


def test_thresholds_do_not_hang_on_the_order_of_images():
    generator = np.random.default_rng(1)
    labels, p = generator.random((300, 14)) < 0.2, generator.random((300, 14)).round(2)
    order = generator.permutation(300)
    for policy in POLICIES:
        np.testing.assert_array_equal(
            fit_thresholds(masks(labels), p, policy), fit_thresholds(masks(labels[order]), p[order], policy)
        )


@pytest.mark.parametrize("policy", ["", "f2", "F1", "sensitivity", "sensitivity@", "sensitivity@0", "sensitivity@1.1",
                                    "sensitivity@nan", "specificity@0.9"])  # fmt: skip
def test_an_unknown_policy_is_refused_with_the_known_ones(policy):
    with pytest.raises(ValueError, match=r"f1, youden or sensitivity@0\.9"):
        wanted_sensitivity(policy)
    with pytest.raises(ValueError, match="policy"):
        fit_thresholds(masks(columns([0, 1])), columns([0.1, 0.9]), policy)


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_thresholds(masks(columns([0, 1])), columns([-0.1, 0.9]), "f1")
    with pytest.raises(ValueError, match=r"probabilities must be \(n >= 1, 13\).* got \(2, 14\)"):
        decide(columns([0.1, 0.9]), np.full(13, 0.5), LEARNED[:13])
    with pytest.raises(ValueError, match="thresholds"):
        decide(columns([0.1, 0.9]), np.full(14, np.nan), LEARNED)


def test_what_its_status_does_not_allow_is_never_decided_whatever_the_threshold():
    status = ("learned", "insufficient", "not learned")
    p, thresholds = np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]]), np.array([0.5, 0.0, 0.0])
    assert decide(p, thresholds, status).tolist() == [[True, False, False], [False, False, False]]
    assert decide(p, thresholds, status, asked=True).tolist() == [[True, True, False], [False, True, False]]


def test_a_finding_that_nobody_labels_is_never_called():
    labels, p = np.repeat([[0], [1]], 14, axis=1).repeat(10, axis=0), np.full((20, 14), 0.5)
    labels[:, 3] = -1
    thresholds = fit_thresholds(masks(labels), p, "f1")
    assert thresholds[3] == 1.0 and not decide(p, thresholds, LEARNED)[:, 3].any()
