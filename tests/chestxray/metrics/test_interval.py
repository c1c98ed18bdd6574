"""Intervals: Wilson's where images are independent, wider where patients' images are alike, mirrored by symmetry."""

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit
from scipy.stats import poisson

from chestxray.metrics.interval import (
    Cases,
    Parts,
    auroc_interval,
    auroc_variance,
    average_precision_interval,
    bounded_interval,
    f1_interval,
    f1_variance,
    mean_interval,
    reported_prevalence,
    scale_odds,
    share_interval,
    share_variance,
    student,
)
from chestxray.metrics.jackknife import Spread, jackknife
from chestxray.metrics.proportion import wilson_interval
from chestxray.metrics.shares import measure_differences, measure_shares


def known(value, error, freedom=1e9, bias=0.0):
    """The spread of one finding."""
    return Spread(*(np.array([each], float) for each in (value, bias, error, freedom)))


def independent(images):
    """So many images, of a patient each."""
    return Cases.count(np.ones((images, 1), bool), np.arange(images))


def test_cases_by_hand():
    cases = Cases.count(np.array([[1, 0], [1, 0], [1, 1], [0, 1]], bool), ["a", "a", "b", "b"])
    np.testing.assert_array_equal(cases.images, [3, 2])
    np.testing.assert_array_equal(cases.patients, [2, 1])
    np.testing.assert_allclose(cases.most, [(2 * 2 + 1) / 3, 2])
    none = Cases.count(np.zeros((2, 1), bool), ["a", "b"])
    assert (none.images, none.patients, none.most) == (0, 0, 1)


@pytest.mark.parametrize("count", [0, 1, 20, 39, 40])
def test_of_an_image_a_patient_a_share_has_wilsons_interval_with_students_quantile(count):
    hits = np.arange(40) < count
    spread = jackknife(lambda w: {"share": (w @ hits / w.sum(axis=1))[:, None]}, np.arange(40))["share"]
    low, high = share_interval(spread, independent(40))
    np.testing.assert_allclose((low[0], high[0]), wilson_interval(count / 40, 40, stdtrit(39, 0.975)), atol=1e-9)
    assert (count > 0 or low == 0) and (count < 40 or high == 1)


def test_of_many_patients_it_is_wilsons():
    spread = known(0.2, np.sqrt(0.16 / 10_000))
    expected = wilson_interval(0.2, 10_000, ndtri(0.975))
    np.testing.assert_allclose(np.ravel(share_interval(spread, independent(10_000))), expected, atol=1e-5)


def test_images_that_are_copies_count_once():
    hits = np.arange(60) < 20
    once = jackknife(lambda w: {"share": (w @ hits / w.sum(axis=1))[:, None]}, np.arange(60))["share"]
    people = np.arange(60).repeat(3)
    thrice = jackknife(lambda w: {"share": (w @ hits.repeat(3) / w.sum(axis=1))[:, None]}, people)["share"]
    cases = Cases.count(np.ones((180, 1), bool), people)
    np.testing.assert_allclose(share_interval(thrice, cases), share_interval(once, independent(60)))
    none = Cases.count(np.ones((180, 1), bool), people)
    silent = share_interval(known(0, 0, 59), none)
    np.testing.assert_allclose(silent, share_interval(known(0, 0, 59), independent(60)))


def test_the_design_effect_is_between_what_is_assumed_and_what_can_be():
    cases = Cases.count(np.ones((12, 1), bool), np.arange(3).repeat(4))
    assert cases.design_effect(np.array([0.1]), np.array([0.01])) == pytest.approx(1.6)  # images as if independent
    assert cases.design_effect(np.array([0.2]), np.array([0.01])) == pytest.approx(4)
    assert cases.design_effect(np.array([0.0]), np.array([0.01])) == 4


def test_a_share_is_no_less_certain_than_where_all_images_of_a_patient_are_alike():
    cases = Cases.count(np.ones((12, 1), bool), np.arange(6).repeat(2))
    assert cases.largest == 2
    widest = share_interval(known(0.5, np.sqrt(0.25 / 6)), cases)
    np.testing.assert_allclose(np.ravel(widest), wilson_interval(0.5, 6, stdtrit(5, 0.975)))
    np.testing.assert_allclose(share_interval(known(0.5, 0.3, freedom=1.0), cases), widest)
    single = average_precision_interval(known(0.5, 0.3, freedom=1.0), cases)  # of which that is not so
    assert single[0] < widest[0] and single[1] > widest[1]


def test_more_misses_never_raise_the_lower_end():
    ends = []
    for count in range(9, 16):
        values = (np.arange(15) < count)[:, None]
        ends.append(float(measure_shares(values, np.ones((15, 1), bool), np.arange(15), 2).low[0]))
    assert ends == sorted(ends)


def test_of_an_error_that_is_not_known_there_is_no_interval():
    cases = independent(30)
    for ends in (
        share_interval(known(0.5, np.nan), cases),
        average_precision_interval(known(0.5, np.nan), cases),
        auroc_interval(known(0.8, np.nan), cases, cases),
    ):
        assert np.isnan(ends).all()


def test_differences_that_are_all_the_same_are_not_certain():
    images, people = np.ones((12, 1), bool), np.arange(12)
    all_gain = measure_differences(np.ones((12, 1)), images, people, 2)
    low, _ = wilson_interval(1.0, 12, stdtrit(11, 0.975))
    np.testing.assert_allclose((all_gain.low[0], all_gain.high[0]), (2 * low - 1, 1))
    none = measure_differences(np.zeros((12, 1)), images, people, 2)
    assert none.low[0] == pytest.approx(-none.high[0]) and none.low[0] < -0.3
    one = np.eye(12)[:, :1]
    some = measure_differences(one, images, people, 2)
    assert some.low[0] < 0 < some.high[0]


def test_a_bias_moves_the_interval_which_still_holds_the_figure():
    cases = independent(50)
    plain = share_interval(known(0.3, 0.07), cases)
    lower = share_interval(known(0.3, 0.07, bias=0.05), cases)
    assert lower[0] < plain[0] and lower[1] < plain[1]
    assert share_interval(known(0.3, 0.07, bias=0.3), cases)[1] >= 0.3
    sure = bounded_interval(known(0.3, 0.03), cases)
    corrected = bounded_interval(known(0.3, 0.03, bias=0.04), cases)
    assert corrected[0] < sure[0] and corrected[1] > 0.3
    assert corrected[1] - corrected[0] == pytest.approx((sure[1] - sure[0]) * 5 / 3, rel=0.05)


def test_an_auroc_is_where_chance_explains_it():
    low, high = (end[0] for end in auroc_interval(known(0.8, 0.05, 30), independent(20), independent(80)))
    effect = max(1, 0.05**2 / auroc_variance(0.8, 20, 80))
    for end in (low, high):
        away = abs(0.8 - end) / np.sqrt(effect * auroc_variance(end, 20, 80))
        assert away == pytest.approx(float(student(19)), rel=1e-6)
    assert 0.8 - low > high - 0.8


def test_turning_scores_or_classes_round_mirrors_the_interval_of_an_auroc():
    few, many = independent(15), independent(90)
    low, high = auroc_interval(known(0.7, 0.08, 40), few, many)
    turned = auroc_interval(known(0.3, 0.08, 40), many, few)
    np.testing.assert_allclose((1 - turned[1], 1 - turned[0]), (low, high), atol=1e-9)


def test_a_perfect_auroc_is_not_certain():
    low, high = auroc_interval(known(1, 0, 100), independent(12), independent(90))
    assert high == 1 and 0.5 < low < 0.9
    nearly = auroc_interval(known(1, 0, 100), independent(120), independent(900))[0]
    assert low < nearly < 1
    alike = Cases.count(np.ones((12, 1), bool), np.arange(4).repeat(3))
    assert auroc_interval(known(1, 0, 100), alike, independent(90))[0] < low


def test_hanley_and_mcneils_variance_is_that_of_their_formula():
    area, m, n = 0.85, 30, 50
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    expected = (area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (m * n)
    assert auroc_variance(area, m, n) == pytest.approx(expected)


def test_f1_is_on_the_scale_of_the_share_of_images_that_have_both():
    jaccard = average_precision_interval(known(0.25, 0.05), independent(80))
    f1 = f1_interval(known(0.4, 0.05 * 2 / 1.25**2), independent(80))
    np.testing.assert_allclose(f1, [2 * end / (1 + end) for end in jaccard])
    low, high = f1_interval(known(0, 0, 79), independent(80))
    assert low == 0 and 0 < high < 0.12


def test_a_mean_of_images_that_are_all_alike_is_certain():
    cases = independent(50)
    assert np.ravel(bounded_interval(known(0.4, 0), cases)).tolist() == [0.4, 0.4]
    assert np.isnan([bounded_interval(known(*nothing), cases) for nothing in ((np.nan, np.nan), (1, 0))]).all()
    low, high = bounded_interval(known(0.999, 0.001, bias=-0.01), cases)  # less its bias it would be above 1
    assert low < 0.999 and high == 1


def test_unequal_patients_count_for_fewer_in_a_mean():
    people = np.repeat(np.arange(10), [40, *[1] * 9])
    unequal = Cases.count(np.ones((49, 1), bool), people)
    low, high = bounded_interval(known(0.5, 0.03), unequal)
    quantile = stdtrit(1, 0.975)  # 49 images count for 1.5 patients: 1 degree of freedom
    np.testing.assert_allclose((low, high), wilson_interval([0.5], 0.25 / 0.03**2, quantile))
    assert high - low > 3 * np.subtract(*bounded_interval(known(0.5, 0.03), independent(49))[::-1])


def of_shares(*values, images):
    """The parts of a mean of shares, each of so many images."""
    return Parts(np.array(values), lambda moved: share_variance(moved, images))


def test_the_mean_of_one_share_is_that_share():
    mean = mean_interval(known(0.3, 0.07), independent(60), of_shares(0.3, images=40))
    expected = wilson_interval(0.3, 0.3 * 0.7 / 0.07**2, stdtrit(59, 0.975))
    np.testing.assert_allclose(np.ravel(mean), expected, atol=1e-9)


def test_a_mean_is_as_sure_as_the_jackknife_says_where_that_sees_enough():
    few, many = (mean_interval(known(0.6, 0.05), independent(300), of_shares(0.5, 0.7, images=n)) for n in (100, 400))
    width = 2 * 0.05 * stdtrit(299, 0.975)
    np.testing.assert_allclose([np.ptp(few), np.ptp(many)], width, rtol=0.03)


@pytest.mark.parametrize(("variance", "images"), [(share_variance, (20,)), (f1_variance, (25,))])
def test_a_mean_that_no_patient_changes_is_not_certain(variance, images):
    def ends(value, findings):
        parts = Parts(np.full(findings, value), lambda moved: variance(moved, *images))
        return np.ravel(mean_interval(known(value, 0), independent(300), parts))

    (low, high), (_, above), (left, right) = ends(1.0, 1), ends(0.0, 1), ends(0.5, 1)
    assert high == 1 and 0.75 < low < 0.95 and 0.05 < above < 0.25 and 0.25 < left < 0.5 < right < 0.75
    assert ends(1.0, 4)[0] > low
    nothing = mean_interval(known(np.nan, np.nan), independent(300), Parts(np.zeros(0), lambda moved: moved))
    assert np.isnan(nothing).all()


def test_f1_has_the_variance_of_its_share_by_the_slope():
    share, step = 0.25, 1e-6
    slope = (2 * (share + step) / (1 + share + step) - 2 * share / (1 + share)) / step
    assert f1_variance(0.4, 80) == pytest.approx(slope**2 * share_variance(share, 80), rel=1e-4)


def test_a_class_that_is_just_common_enough_to_be_reported_may_be_less_common():
    seen = np.array([11, 14, 20, 60, 2000])
    mean = reported_prevalence(seen, 10) * seen
    least = 5.43  # of which 5 % of data sets would be reported
    assert poisson.sf(9, least) == pytest.approx(0.05, abs=0.001)
    np.testing.assert_allclose(reported_prevalence([10, 9, 1], 10), [least / 10, least / 9, 1], atol=0.001)
    counts = np.arange(10, 4000)
    chances = poisson.pmf(counts[:, None], mean)
    np.testing.assert_allclose(counts @ chances / chances.sum(axis=0), seen)  # as many as are seen, if reported
    assert (np.diff(mean / seen)[:3] > 0).all() and mean[-1] == pytest.approx(2000)


def test_at_another_prevalence_odds_are_multiplied():
    hits, alarms = 12.0, 30.0
    assert scale_odds(np.array([hits / (hits + alarms)]), np.array([0.5])) == pytest.approx(6 / 36)
    assert scale_odds(np.array([0.0, 0.3, 1.0]), np.array([0.5, 1.0, 0.5])).tolist() == pytest.approx([0, 0.3, 1])
