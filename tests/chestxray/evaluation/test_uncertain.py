"""The uncertain band: of either class, few of the images of new patients lie on its wrong side."""

import numpy as np

from chestxray.evaluation.tested_points import measure_bands, risk_coverage
from chestxray.evaluation.uncertain import fit_bands
from chestxray.labels import label_masks


def images(generator, patients, separation=1.5, prevalence=0.3):
    """Labels, probabilities and patients of one finding; images of a patient are alike."""
    patient = np.repeat(np.arange(patients), generator.integers(1, 6, patients))
    present = (generator.random(patients) < prevalence)[patient]
    noise = 0.7 * generator.normal(size=patients)[patient] + 0.7 * generator.normal(size=len(patient))
    return (
        label_masks(present[:, None], ["Tuberculosis"]),
        1 / (1 + np.exp(-(separation * present + noise)))[:, None],
        patient,
    )


def test_the_wrong_side_is_as_rare_as_is_said_for_images_of_new_patients():
    generator = np.random.default_rng(0)
    labels, probability, _ = images(generator, 100_000)
    present, absent = np.sort(probability[labels.present]), np.sort(probability[labels.absent])
    below, above = [], []
    for _ in range(300):
        (band,) = fit_bands(*images(generator, 120), 0.1)
        below.append(np.searchsorted(present, band[0]) / len(present))
        above.append(1 - np.searchsorted(absent, band[1], side="right") / len(absent))
    assert 0.07 < np.mean(below) < 0.105 and 0.08 < np.mean(above) < 0.105


def test_with_one_image_a_patient_it_is_the_conformal_quantile():
    probability = np.linspace(0.01, 0.99, 99)
    present = np.arange(99) % 2 == 0
    (band,) = fit_bands(label_masks(present[:, None], ["A"]), probability[:, None], np.arange(99), 0.1)
    assert band == (
        probability[present][4],
        probability[~present][-5],
    )  # the fifth: floor(0.1 * (n + 1))


def test_with_too_few_patients_there_is_none():
    labels = label_masks(np.append(np.ones(8, bool), np.zeros(30, bool))[:, None], ["A"])
    assert fit_bands(labels, np.linspace(1, 0, 38)[:, None], np.arange(38), 0.1) == (None,)
    assert fit_bands(labels, np.linspace(1, 0, 38)[:, None], np.arange(38), 0.2) != (None,)
    assert fit_bands(label_masks([[1], [1]], ["A"]), [[0.5], [0.6]], [1, 2], 0.1) == (None,)


def test_classes_that_are_told_apart_leave_nothing_uncertain():
    labels = label_masks((np.arange(60) >= 30)[:, None], ["A"])
    probability = np.where(np.arange(60) >= 30, 0.9, 0.1) + np.linspace(0, 0.05, 60)
    (band,) = fit_bands(labels, probability[:, None], np.arange(60), 0.1)
    assert band[0] == band[1] and 0.15 < band[0] < 0.9


def test_a_band_is_measured_on_test_by_counting():
    present = np.arange(20) < 8
    probability = np.array([0.1, 0.3, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, *[0.9] * 2, *[0.5] * 3, *[0.1] * 7])[:, None]
    labels = label_masks(present[:, None], ["A"])
    (band,) = measure_bands(labels, probability, np.arange(20), [(0.3, 0.6)], 0.1, 2)
    assert (band.inside.value, band.inside.n) == (0.25, 20)  # both ends belong to it: 0.3 and four times 0.5
    assert (band.present_below.value, band.present_below.n) == (0.125, 8)
    assert (band.absent_above.value, band.absent_above.n) == (round(2 / 12, 6), 12)
    curve = {0.1: ((0.3, 0.6),), 0.2: ((0.4, 0.4),), 0.3: ((0.5, 0.5),)}
    table = risk_coverage(labels, probability, curve)
    assert table["decided"].tolist() == [0.75, 1.0]  # the second leaves nothing uncertain, and ends the curve
    assert table["wrong"].tolist() == [0.2, round((2 + 5) / 20, 6)]
