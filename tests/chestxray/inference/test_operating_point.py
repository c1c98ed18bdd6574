"""Predictive values: Bayes' rule, and intervals that say how far chance in the test set reaches."""

import numpy as np
import pytest

from chestxray.inference.operating_point import OperatingPoint, Rate, predictive_values
from chestxray.metrics.proportion import estimate_share


def rate(hits: int, n: int) -> Rate:
    share = estimate_share(hits, n)
    return Rate(value=share.value, low=min(share.low, share.value), high=max(share.high, share.value), n=n)


def test_at_the_prevalence_of_the_test_set_they_are_the_shares_of_its_decisions() -> None:
    older = OperatingPoint(threshold=0.3, sensitivity=rate(18, 20), specificity=rate(150, 180))
    values = older.predictive_values()
    assert values and values.ppv and values.npv
    assert values.prevalence == 0.1 and values.ppv.low is values.npv.low is None  # nobody allowed for the prevalence
    assert values.ppv.value == pytest.approx(18 / (18 + 30)) and values.npv.value == pytest.approx(150 / 152)
    counted = older.model_copy(update={"ppv": rate(18, 48), "npv": rate(150, 152).point})
    assert counted.predictive_values() == (0.1, counted.ppv, counted.npv)
    known = counted.predictive_values(0.1)
    assert known and known.ppv and known.ppv.value == pytest.approx(18 / 48) and known.ppv.low != counted.ppv.low
    assert known.npv and known.npv.low is not None


def test_they_are_what_counting_a_population_of_another_prevalence_gives() -> None:
    for prevalence in (0.001, 0.02, 0.3, 0.9):
        found = predictive_values(rate(45, 50), rate(80, 100), prevalence)
        true_positive, false_positive = 0.9 * prevalence, 0.2 * (1 - prevalence)
        true_negative, false_negative = 0.8 * (1 - prevalence), 0.1 * prevalence
        assert found.ppv and found.ppv.value == pytest.approx(true_positive / (true_positive + false_positive))
        assert found.npv and found.npv.value == pytest.approx(true_negative / (true_negative + false_negative))


def test_their_intervals_cover_at_a_prevalence() -> None:
    generator = np.random.default_rng(0)
    truth = predictive_values(*(Rate(value=share, low=None, high=None, n=1) for share in (0.85, 0.9)), 0.05)
    inside = []
    for _ in range(1000):
        found = predictive_values(rate(generator.binomial(40, 0.85), 40), rate(generator.binomial(200, 0.9), 200), 0.05)
        inside.append([e.low <= t.value <= e.high for e, t in zip(found[1:], truth[1:], strict=True)])
    assert (np.mean(inside, axis=0) > 0.93).all()


@pytest.mark.parametrize(("hits", "right"), [(0, 100), (0, 90), (20, 100), (20, 0)])
def test_shares_of_0_and_1_have_intervals_within_0_and_1_that_hold_the_value(hits: int, right: int) -> None:
    for value in predictive_values(rate(hits, 20), rate(right, 100), 0.1)[1:]:
        assert value is None or 0 <= value.low <= value.value <= value.high <= 1
    nothing = predictive_values(rate(0, 20), rate(100, 100), 0.1)
    assert nothing.ppv is None and nothing.npv is not None


def test_the_smallest_numbers_that_a_bundle_may_hold_are_answered() -> None:
    for smallest in (5e-324, 1e-320, 1e-6):
        odd = Rate(value=smallest, low=smallest, high=smallest, n=1)
        for prevalence in (1e-6, 0.5, 1 - 1e-6):
            for value in predictive_values(odd, odd, prevalence)[1:]:
                assert value is None or 0 <= value.value <= 1
    assert OperatingPoint(threshold=0.5, sensitivity=rate(1, 1), specificity=rate(10**8, 5 * 10**8)).predictive_values()


def test_without_intervals_or_a_test_there_are_none() -> None:
    plain = Rate(value=0.9, low=None, high=None, n=10)
    found = predictive_values(plain, plain, 0.5)
    assert found.ppv and found.ppv.low is None
    assert OperatingPoint(threshold=0.5, sensitivity=plain).predictive_values(0.1) is None
    assert OperatingPoint(threshold=None, lacking="too few").predictive_values(0.1) is None


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_a_prevalence_lies_between_0_and_1(prevalence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        predictive_values(rate(1, 2), rate(1, 2), prevalence)
