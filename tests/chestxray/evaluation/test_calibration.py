"""Calibration: probabilities mean what they say, and the order of images never turns over."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import minimize
from scipy.special import expit

from chestxray.evaluation.calibration import MINIMUM_SLOPE, fit_platt
from chestxray.findings import FINDINGS
from chestxray.inference.platt import Platt
from chestxray.metrics.calibration_error import calibration_error, calibration_errors, reliability
from chestxray.metrics.ranking import auroc
from tests.chestxray.sample import masks

SHAPE = (4000, 14)


def simulated(seed, slope=1.0, intercept=0.0, shape=SHAPE):
    """Logits, and truths drawn with exactly the probabilities sigmoid(slope * logit + intercept)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-0.5, 2, shape)
    return logits, generator.random(shape) < expit(slope * logits + intercept)


def test_platt_recovers_the_curve_the_truth_was_drawn_from():
    slope, intercept = np.linspace(0.3, 2, 14), np.linspace(-2, 1, 14)
    logits, labels = simulated(0, slope, intercept, (40_000, 14))
    fitted = fit_platt(logits, masks(labels))
    np.testing.assert_allclose(fitted.slope, slope, rtol=0.08)
    np.testing.assert_allclose(fitted.intercept, intercept, atol=0.08)


def test_platt_minimises_the_cross_entropy_of_his_smoothed_targets():
    logits, labels = simulated(1, 0.7, -1.5, (200, 14))
    fitted = fit_platt(logits, masks(labels))
    for finding in range(14):
        z, y = logits[:, finding], labels[:, finding]
        targets = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))

        def loss(curve, z=z, targets=targets):
            log_odds = curve[0] * z + curve[1]
            return np.mean(np.logaddexp(0, log_odds) - targets * log_odds)

        best = minimize(loss, [1.0, 0.0], method="BFGS", tol=1e-10)
        np.testing.assert_allclose([fitted.slope[finding], fitted.intercept[finding]], best.x, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("positives", [1, 3, 50, 99])
def test_separable_logits_of_any_scale_get_a_finite_curve(scale, positives):
    labels = np.repeat((np.arange(100) >= 100 - positives)[:, None], 14, axis=1)
    logits = scale * (np.linspace(-3, 3, 100)[:, None] + 5 * labels)
    fitted = fit_platt(logits, masks(labels))
    assert np.isfinite(fitted.slope).all()
    p = fitted.probabilities(logits)
    assert p[labels].min() > p[~labels].max()
    unscaled = fit_platt(logits / scale, masks(labels)).probabilities(logits / scale)
    np.testing.assert_allclose(p, unscaled, rtol=1e-4)


def test_calibration_mends_distorted_logits_without_touching_the_auroc():
    logits, labels = simulated(2)
    distorted = 3 * logits + 4
    fitted = fit_platt(distorted, masks(labels))
    fresh_logits, fresh_truth = simulated(3)
    before = calibration_error(masks(fresh_truth), Platt.identity(FINDINGS).probabilities(3 * fresh_logits + 4))
    after = calibration_error(masks(fresh_truth), fitted.probabilities(3 * fresh_logits + 4))
    assert before["mean"] > 0.2
    assert after["mean"] < 0.03
    np.testing.assert_allclose(
        auroc(masks(fresh_truth), fitted.probabilities(3 * fresh_logits + 4)),
        auroc(masks(fresh_truth), fresh_logits),
        atol=1e-5,
    )


def test_a_ranking_that_is_wrong_on_validation_is_flattened_to_the_prevalence_not_turned_over():
    logits, labels = simulated(4, slope=-1.0, intercept=-1.0)
    fitted = fit_platt(logits, masks(labels))
    np.testing.assert_allclose(fitted.slope * logits.std(axis=0), MINIMUM_SLOPE)
    p = fitted.probabilities(logits)
    np.testing.assert_allclose(p.mean(axis=0), labels.mean(axis=0), atol=2e-3)
    assert np.ptp(p, axis=0).max() < 0.05
    np.testing.assert_array_equal(np.diff(p[np.argsort(logits[:, 0]), 0]) >= 0, True)


def test_a_constant_logit_is_given_the_smoothed_prevalence():
    labels = np.zeros((100, 14), bool)
    labels[:20] = True
    p = fit_platt(np.full((100, 14), 0.7), masks(labels)).probabilities(np.full((1, 14), 0.7))
    np.testing.assert_allclose(p, (20 * 21 / 22 + 80 / 82) / 100, rtol=1e-5)


def test_a_finding_without_both_classes_keeps_its_plain_sigmoid():
    logits, labels = simulated(5)
    labels[:, 0], labels[:, 1] = False, True
    fitted = fit_platt(logits, masks(labels))
    np.testing.assert_array_equal(fitted.slope[:2], 1)
    np.testing.assert_array_equal(fitted.intercept[:2], 0)
    assert (fitted.slope[2:] != 1).all()


@given(arrays.arrays(np.float64, (3, 14), elements=st.floats(-1e300, 1e300)))
@settings(max_examples=50, deadline=None)
def test_probabilities_stay_strictly_between_0_and_1_whatever_the_logit(logits):
    p = Platt.identity(FINDINGS).probabilities(logits)
    assert p.dtype == np.float32
    assert (p > 0).all()
    assert (p < 1).all()


def test_the_plain_sigmoid_is_exact_in_both_tails():
    logits = np.repeat(np.array([-80.0, -20.0, -1.0, 0.0, 1.0, 10.0])[:, None], 14, axis=1)
    np.testing.assert_allclose(Platt.identity(FINDINGS).probabilities(logits), expit(logits), rtol=2e-7)


def test_a_curve_survives_json_to_the_bit():
    logits, labels = simulated(6)
    fitted = fit_platt(logits, masks(labels))
    again = Platt.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)), FINDINGS)
    np.testing.assert_array_equal(again.slope, fitted.slope)
    np.testing.assert_array_equal(again.intercept, fitted.intercept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda curves: curves.pop("Hernia"), "14 findings"),
        (lambda curves: curves.update(Cold={"slope": 1, "intercept": 0}), "14 findings"),
        (lambda curves: curves["Mass"].pop("slope"), "slope"),
        (lambda curves: curves["Mass"].update(slope="0.5"), "finding 5 needs a finite number"),
        (lambda curves: curves["Mass"].update(slope=None), "slope"),
        (lambda curves: curves["Mass"].update(intercept=True), "needs a finite number"),
        (lambda curves: curves["Mass"].update(more=1.0), "nothing else"),
        (lambda curves: curves["Mass"].update(slope=float("nan")), "finite"),
        (lambda curves: curves["Mass"].update(slope=-1.0), "positive"),
        (lambda curves: curves["Mass"].update(slope=0.0), "positive"),
    ],
)
def test_a_spoiled_file_is_named_not_used(change, message):
    curves = Platt.identity(FINDINGS).to_dict()
    change(curves)
    with pytest.raises(ValueError, match=message):
        Platt.from_dict(curves, FINDINGS)


def test_calibration_error_by_hand():
    # Ten images, one a bin: the error is the mean of |truth - probability|.
    probability = np.linspace(0.05, 0.95, 10)
    positive = np.arange(10) >= 5
    error = calibration_error(masks(np.repeat(positive[:, None], 14, 1)), np.repeat(probability[:, None], 14, 1))
    expected = np.abs(positive - probability).mean()
    assert error["mean"] == pytest.approx(expected)
    assert error["Hernia"] == pytest.approx(expected)
    assert set(error) == {"mean", *FINDINGS}


def test_saying_the_prevalence_to_everyone_is_perfectly_calibrated_in_any_order():
    positive = np.arange(200) < 30
    for seed in range(3):
        said, seen = reliability(np.random.default_rng(seed).permutation(positive), np.full(200, 0.15)).T
        np.testing.assert_allclose(said, 0.15)
        np.testing.assert_allclose(seen, 0.15)


def test_bins_hold_equal_mass():
    generator = np.random.default_rng(0)
    positive, probability = generator.random(1000) < 0.1, generator.random(1000) ** 4
    bins = reliability(positive, probability)
    tenths = np.argsort(probability).reshape(10, 100)
    np.testing.assert_allclose(bins, np.stack([probability[tenths].mean(1), positive[tenths].mean(1)], axis=1))


def test_an_image_that_a_cut_falls_into_counts_on_both_sides():
    bins = reliability([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(bins[:, 0], [0.1, 0.1, 0.15, 0.2, 0.2, 0.3, 0.3, 0.35, 0.4, 0.4])
    np.testing.assert_allclose(bins[:, 1], [0, 0, 0, 0, 0, 0, 0, 0.5, 1, 1], atol=1e-12)


def test_an_image_drawn_twice_counts_as_two():
    logits, labels = simulated(8, shape=(203, 14))
    probabilities = expit(logits).round(2)
    weights = np.random.default_rng(0).poisson(1, (20, 203)).astype(np.int32)
    errors = calibration_errors(masks(labels), probabilities)(weights)
    for row, error in zip(weights, errors, strict=True):
        spelled_out = calibration_error(masks(labels.repeat(row, axis=0)), probabilities.repeat(row, axis=0))
        np.testing.assert_allclose(error, [spelled_out[name] for name in FINDINGS])


def test_calibration_error_leaves_out_findings_without_both_classes():
    logits, labels = simulated(7)
    labels[:, 3] = False
    error = calibration_error(masks(labels), Platt.identity(FINDINGS).probabilities(logits))
    assert FINDINGS[3] not in error
    assert error["mean"] == pytest.approx(np.mean([error[name] for name in FINDINGS if name in error]))
    with pytest.raises(ValueError, match="no finding has both"):
        calibration_error(masks(np.zeros((5, 14))), np.full((5, 14), 0.5))


def test_logits_and_truth_of_different_images_are_refused():
    with pytest.raises(ValueError, match=r"logits must be \(5, 14\).*got \(4, 14\)"):
        fit_platt(np.zeros((4, 14)), masks(np.zeros((5, 14))))


def test_the_service_can_calibrate_and_decide_with_numpy_alone():
    script = (
        "import sys, chestxray.inference.platt, chestxray.inference.decisions;"
        "print(sorted({'pandas', 'scipy', 'sklearn', 'tensorflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_logits_that_differ_in_the_last_bit_only_give_everyone_about_the_prevalence():
    logits = np.full((25, len(FINDINGS)), np.float32(-8.848554), np.float32)
    logits[::2] = np.nextafter(logits[::2], np.float32(0))
    labels = np.zeros((25, len(FINDINGS)), np.int8)
    labels[0] = 1
    probabilities = fit_platt(logits, masks(labels)).probabilities(logits)
    assert np.allclose(probabilities, 2 / 27, atol=0.03)
