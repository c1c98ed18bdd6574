"""Operating points: the best of all cuts, no better one exists; and what is assured holds on other patients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mapie.risk_control import BinaryClassificationController, recall
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.stats import binom

from chestxray.evaluation import operating_points
from chestxray.evaluation.operating_points import parse_operating_point
from chestxray.evaluation.risk_control import hoeffding_bentkus
from chestxray.inference.decisions import decide
from chestxray.labels import label_masks
from tests.chestxray.sample import masks

LEARNED = ("learned",) * 14
NAMES = ("f1", "youden", "sensitivity@0.8", "specificity@0.7", "ppv@0.5")


def columns(values):
    return np.repeat(np.asarray(values)[:, None], 14, axis=1)


def fit_thresholds(labels, probabilities, name):
    """Thresholds of images of a patient each, NaN where there is none."""
    found = operating_points.fit_thresholds(labels, probabilities, np.arange(len(labels)), name, 0.95)
    return np.array([np.nan if each.threshold is None else each.threshold for each in found])


def counts(labels, called):
    return tuple(
        np.count_nonzero(cell) for cell in (labels & called, ~labels & called, labels & ~called, ~labels & ~called)
    )


def merit(name, labels, called):
    """What the operating point wants most, written out plainly, with the highest specificity among equals."""
    tp, fp, fn, tn = counts(labels, called)
    value = {
        "f1": 2 * tp / (2 * tp + fp + fn) if tp else 0.0,
        "youden": tp * (tn + fp) - fp * (tp + fn),
        "sensitivity@0.8": float(tp >= 0.8 * (tp + fn)),
        "specificity@0.7": tp if tn >= 0.7 * (tn + fp) else -1,
        "ppv@0.5": tp if tp + fp and tp >= 0.5 * (tp + fp) else -1,
    }[name]
    return value, -fp


@pytest.mark.parametrize("name", NAMES)
@given(
    labels=arrays.arrays(bool, (25, 14)),
    probability=arrays.arrays(
        np.float32, (25, 14), elements=st.sampled_from(np.linspace(0, 0.96, 9, dtype=np.float32))
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_cut_is_better_and_none_as_good_is_more_specific(name, labels, probability):
    thresholds = fit_thresholds(masks(labels), probability, name)
    decisions = decide(probability, thresholds, LEARNED)
    for finding in range(14):
        y, p = labels[:, finding], probability[:, finding]
        if y.any() and not y.all():
            best = max(merit(name, y, p >= cut) for cut in [*np.unique(p), 2.0])
            if name == "ppv@0.5" and best[0] == -1:
                assert np.isnan(thresholds[finding])
            else:
                assert merit(name, y, decisions[:, finding]) == best
        else:
            assert np.isnan(thresholds[finding])


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


@pytest.mark.parametrize("wanted", ["0.55", "0.07", "0.29", "0.57"])
def test_a_rate_that_is_reached_to_the_image_is_reached(wanted):
    labels = columns(np.arange(200) < 100)
    probabilities = columns(np.linspace(0.99, 0.01, 200))
    threshold = fit_thresholds(masks(labels), probabilities, f"sensitivity@{wanted}")[0]
    assert np.count_nonzero(probabilities[:, 0] >= threshold) == round(100 * float(wanted))


def test_thresholds_do_not_hang_on_the_order_of_images():
    generator = np.random.default_rng(1)
    labels, p = generator.random((300, 14)) < 0.2, generator.random((300, 14)).round(2)
    order = generator.permutation(300)
    for name in NAMES:
        np.testing.assert_array_equal(
            fit_thresholds(masks(labels), p, name), fit_thresholds(masks(labels[order]), p[order], name)
        )


@pytest.mark.parametrize("name", ["", "f2", "F1", "f1@0.5", "sensitivity", "sensitivity@", "sensitivity@0", "npv@0.9",
                                  "sensitivity@1.1", "sensitivity@.9", "ppv@0.90", "ppv@nan",
                                  "assured_sensitivity@1"])  # fmt: skip
def test_an_unknown_operating_point_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"f1, youden, sensitivity@0\.9"):
        parse_operating_point(name)
    with pytest.raises(ValueError, match="operating point"):
        fit_thresholds(masks(columns([0, 1])), columns([0.1, 0.9]), name)


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_thresholds(masks(columns([0, 1])), columns([-0.1, 0.9]), "f1")
    with pytest.raises(ValueError, match=r"probabilities must be \(n >= 1, 13\).* got \(2, 14\)"):
        decide(columns([0.1, 0.9]), np.full(13, 0.5), LEARNED[:13])
    with pytest.raises(ValueError, match="thresholds"):
        decide(columns([0.1, 0.9]), np.full(14, 1.1), LEARNED)


def test_without_a_threshold_nothing_is_decided():
    assert not decide(columns([0.1, 0.9]), np.full(14, np.nan), LEARNED).any()


def test_what_its_status_does_not_allow_is_never_decided_whatever_the_threshold():
    status = ("learned", "insufficient", "not learned")
    p, thresholds = np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]]), np.array([0.5, 0.0, 0.0])
    assert decide(p, thresholds, status).tolist() == [[True, False, False], [False, False, False]]
    assert decide(p, thresholds, status, asked=True).tolist() == [[True, True, False], [False, True, False]]


def test_a_finding_that_nobody_labels_is_never_called():
    labels, p = np.repeat([[0], [1]], 14, axis=1).repeat(10, axis=0), np.full((20, 14), 0.5)
    labels[:, 3] = -1
    thresholds = fit_thresholds(masks(labels), p, "f1")
    assert np.isnan(thresholds[3]) and not decide(p, thresholds, LEARNED)[:, 3].any()


def test_a_ppv_that_no_threshold_reaches_has_none_and_says_what_is_reached():
    labels, p = columns([1, 0, 0, 0]), columns([0.1, 0.2, 0.3, 0.4])
    found = operating_points.fit_thresholds(masks(labels), p, range(4), "ppv@0.9", 0.95)[0]
    assert found.threshold is None and "the highest is 0.25" in found.lacking


def population(generator, patients, prevalence=0.3, separation=1.5, alike=0.6, most=8):
    """Labels, probabilities and patients of one finding whose scores are alike within a patient."""
    sizes = generator.integers(1, most + 1, patients)
    patient = np.repeat(np.arange(patients), sizes)
    present = np.repeat(generator.random(patients) < prevalence, sizes)
    noise = np.sqrt(alike) * generator.normal(size=patients)[patient]
    noise += np.sqrt(1 - alike) * generator.normal(size=len(patient))
    return present, 1 / (1 + np.exp(-(separation * present + noise))), patient


def assured(present, probability, patient, wanted=0.8, confidence=0.9):
    labels = label_masks(present[:, None], ["Tuberculosis"])
    name = f"assured_sensitivity@{wanted}"
    return operating_points.fit_thresholds(labels, probability[:, None], patient, name, confidence)[0]


@pytest.mark.parametrize("most", [1, 8])
def test_what_is_assured_holds_on_other_patients_as_often_as_is_said(most):
    generator = np.random.default_rng(0)
    present, everyone, _ = population(generator, 200_000, most=most)
    truth = np.sort(everyone[present])
    missed = []
    for _ in range(400):
        threshold = assured(*population(generator, 250, most=most)).threshold
        missed.append(np.searchsorted(truth, threshold) / len(truth) > 0.2)
    assert np.mean(missed) <= 0.1  # 1 - confidence; sensitivity@0.8 misses about half of the time
    plain = [
        operating_points.fit_thresholds(
            label_masks(present[:, None], ["Tuberculosis"]), probability[:, None], patient, "sensitivity@0.8", 0.9
        )[0].threshold
        for present, probability, patient in (population(generator, 250, most=most) for _ in range(100))
    ]
    assert np.mean(np.searchsorted(truth, plain) / len(truth) > 0.2) > 0.3


def test_with_one_image_a_patient_it_is_mapies_threshold_but_for_its_rounding():
    generator = np.random.default_rng(1)
    for _ in range(3):
        present, probability, patient = population(generator, 300, most=1)
        cuts = np.unique(probability[present])
        controller = BinaryClassificationController(
            lambda rows: np.hstack([1 - rows, rows]),
            risk=recall,
            target_level=0.8,
            confidence_level=0.9,
            list_predict_params=cuts,
            fwer_method="fixed_sequence",
        )
        controller.calibrate(probability[:, None], present.astype(int))
        theirs = np.count_nonzero(probability[present] < np.max(controller.valid_predict_params))
        missed = np.count_nonzero(probability[present] < assured(present, probability, patient).threshold)
        # MAPIE takes n * (misses / n) for one miss more where it lies above a whole number in the last bit.
        assert theirs in (missed - 1, missed)
        positives = np.count_nonzero(present)
        assert binom.cdf(missed, positives, 0.2) <= 0.1 < binom.cdf(missed + 1, positives, 0.2)


def test_its_p_values_are_mapies():
    for n, level in ((29, 0.1), (200, 0.2)):
        for binary in (False, True):
            risk = np.arange(n + 1)[:: n // 29] / n
            theirs = compute_hoeffding_bentkus_p_value(np.maximum(risk - 1e-9, 0), n, level, binary)[:, 0]
            np.testing.assert_allclose(hoeffding_bentkus(risk, n, level, binary), np.minimum(theirs, 1), atol=1e-6)


def test_with_too_few_patients_it_is_unattainable_and_the_number_needed_is_said():
    probability = np.linspace(0.1, 0.9, 40)
    for positives, there in ((28, False), (29, True)):
        present = np.arange(40) >= 40 - positives
        found = assured(present, probability, np.arange(40), 0.9, 0.95)
        assert (found.threshold is not None) == there
        if not there:
            assert "needs 29 validation patients with the finding, there are 28" in found.lacking


def test_a_patient_of_many_images_counts_once():
    """29 patients of one image each, and one of 200 images that are all at the bottom: nobody else may be missed."""
    patient = np.concatenate([np.arange(29), np.full(200, 29), [30]])
    probability = np.concatenate([np.linspace(0.5, 0.9, 29), np.full(200, 0.2), [0.1]])
    present = patient < 30
    threshold = assured(present, probability, patient, 0.9, 0.95).threshold
    assert 0.1 < threshold < 0.2  # the one is a thirtieth of the patients, and nine tenths of the images
