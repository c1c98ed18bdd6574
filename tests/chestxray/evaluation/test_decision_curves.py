"""Decision curves: the net benefit of Vickers and Elkin, and intervals that hold the true one."""

import numpy as np
import pytest
from scipy.stats import norm

from chestxray.evaluation.decision_curves import COLUMNS, THRESHOLDS, decision_curves
from chestxray.evaluation.figures import Panel, decision_curves_figure
from chestxray.findings import FINDINGS
from chestxray.labels import label_masks
from chestxray.metrics.net_benefit import net_benefit
from tests.chestxray.sample import masks, sample


def test_net_benefit_is_that_of_the_counts() -> None:
    labels, probabilities, _, people = sample(0, 400)
    present, scores = labels[:, 9], probabilities[:, 9]
    found = net_benefit(present, scores, people, THRESHOLDS, 10)
    for place, p in enumerate(THRESHOLDS):
        called = scores >= p
        expected = ((called & present).sum() - (called & ~present).sum() * p / (1 - p)) / 400
        everyone = present.mean() - (1 - present.mean()) * p / (1 - p)
        assert found.model.value[place] == pytest.approx(expected)
        assert found.treat_all[place] == pytest.approx(everyone)
        assert found.gain.value[place] == pytest.approx(expected - everyone)
    assert (found.model.low < found.model.value).all() and (found.gain.value <= found.gain.high).all()


def test_it_equals_that_of_dcurves() -> None:
    # What dcurves 1.1.7 gave for these; it brings lifelines and statsmodels, so it is no dependency of the tests.
    truth = np.array([1, 0, 1, 0, 0, 1, 0, 0, 1, 0], bool)
    scores = np.array([0.9, 0.8, 0.7, 0.35, 0.3, 0.25, 0.2, 0.1, 0.05, 0.02])
    found = net_benefit(truth, scores, np.arange(10), [0.01, 0.1, 0.25, 0.5], 2)
    np.testing.assert_allclose(found.model.value, [0.393939, 0.244444, 0.2, 0.1], atol=1e-6)
    np.testing.assert_allclose(found.treat_all, [0.393939, 0.333333, 0.2, -0.2], atol=1e-6)


def test_the_interval_reaches_no_further_than_if_all_findings_were_found_without_alarms() -> None:
    generator = np.random.default_rng(4)
    present, people = generator.random(300) < 0.04, np.arange(150).repeat(2)
    scores = np.clip(0.03 + 0.08 * present + 0.03 * generator.normal(size=300), 0.001, 1)
    (most,) = net_benefit(present, np.ones(300), people, [1e-9], 3).model.high  # alarms cost nothing
    found = net_benefit(present, scores, people, THRESHOLDS, 3)
    assert (found.model.value <= found.model.high).all() and (found.model.high <= most + 1e-6).all()


def test_nobody_gains_who_acts_on_all_or_on_none() -> None:
    labels, _, _, people = sample(1)
    for constant, expected in ((1.0, "all"), (0.0, "none")):
        found = net_benefit(labels[:, 8], np.full(300, constant), people, THRESHOLDS, 10)
        zero = found.gain if expected == "all" else found.model
        assert np.allclose(zero.value, 0) and (zero.low <= 0).all() and (zero.high >= 0).all()


@pytest.mark.parametrize(("threshold", "alarms"), [(0.02, 0.9), (0.2, 0.15), (0.45, 0.03)])
def test_intervals_hold_the_true_net_benefit(threshold: float, alarms: float) -> None:
    shift, share, cost = 1.5, 0.12, threshold / (1 - threshold)
    cut = norm.isf(alarms)  # of the negatives; probabilities need not be calibrated for this
    true = share * norm.sf(cut - shift) - (1 - share) * alarms * cost
    gain = true - share + (1 - share) * cost
    held = np.zeros(2)
    for seed in range(200):
        generator = np.random.default_rng(seed)
        common = generator.normal(size=(150, 2)).repeat(2, axis=0)
        illness, noise = (common + generator.normal(size=(300, 2))).T / np.sqrt(2)
        present = illness < norm.ppf(share)
        called = (noise + shift * present > cut).astype(float)
        found = net_benefit(present, called, np.arange(150).repeat(2), [threshold], 10)
        held += [float(each.low[0] <= at <= each.high[0]) for each, at in ((found.model, true), (found.gain, gain))]
    assert held.min() >= 181, held  # 95 % less three standard deviations


def test_curves_are_of_learned_findings_and_have_intervals_where_patients_suffice() -> None:
    labels, probabilities, _, people = sample(2)
    labels[:, 0] = False
    labels[:, 1] = np.arange(300) < 3
    learned = np.array([True] * 13 + [False])
    table = decision_curves(masks(labels), probabilities, learned, people, 10)
    assert list(table.columns) == list(COLUMNS) and len(table) == 12 * len(THRESHOLDS)
    assert not {FINDINGS[0], FINDINGS[13]} & set(table["finding"])
    rare = table[table["finding"] == FINDINGS[1]]
    assert rare["net_benefit"].notna().all() and rare["net_benefit_ci_low"].isna().all()
    assert table[table["finding"] == FINDINGS[5]].notna().all(axis=None)
    nothing = decision_curves(masks(labels), probabilities, np.zeros(14, bool), people, 10)
    assert nothing.empty and list(nothing.columns) == list(COLUMNS)


def test_images_that_do_not_label_a_finding_do_not_count() -> None:
    labels, probabilities, _, people = sample(3)
    some = labels.astype(np.int8)
    some[::3, 7] = -1
    known = some[:, 7] != -1
    whole = label_masks(some, FINDINGS)
    table, alone = (
        decision_curves(whole.at(rows), probabilities[rows], np.arange(14) == 7, people[rows], 10)
        for rows in (np.ones(300, bool), known)
    )
    assert table.equals(alone) and (table["n"] == known.sum()).all()


def test_the_figure_says_why_a_panel_is_empty() -> None:
    labels, probabilities, _, people = sample(4)
    learned = np.array([True] * 13 + [False])
    panels = {name: Panel(name, "learned" if name != "Hernia" else "insufficient") for name in FINDINGS}
    figure = decision_curves_figure(decision_curves(masks(labels), probabilities, learned, people, 10), panels, "x")
    said = {axes.get_title(): [text.get_text() for text in axes.texts] for axes in figure.axes}
    assert "insufficient" in said["Hernia"][0] and said["Mass"] == []
