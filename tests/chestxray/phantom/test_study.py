"""Drawn studies: alike within a patient, as hard as the difficulty says, with boxes of what is labelled."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from chestxray.findings import FINDINGS
from chestxray.phantom.canvas import Array, Canvas
from chestxray.phantom.cohort import Patient, Study
from chestxray.phantom.site import FIRST_SITE
from chestxray.phantom.study import Drawing, box_around, draw_patient, sample_lesion
from tests.chestxray.phantom.drawing import TINY, upright


def normal_studies(number: int, *views: str) -> list[Drawing]:
    patient = Patient(number, "MF"[number % 2], 50, tuple(Study(k, 50, view, ()) for k, view in enumerate(views)))
    return list(draw_patient(patient, FIRST_SITE, TINY.model_copy(update={"size": 96, "difficulty": 0.0})))


def test_a_patient_is_more_like_himself_than_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    still = upright(96)
    monkeypatch.setattr(Canvas, "posed", lambda *_: still)
    pairs = [[drawing.image[16:80, 16:80].ravel() for drawing in normal_studies(n, "PA", "PA")] for n in range(1, 9)]
    likeness = np.corrcoef([first for first, _ in pairs], [second for _, second in pairs])[:8, 8:]
    assert (likeness.argmax(axis=1) == np.arange(8)).all()


def test_less_exposure_is_paler_and_grainier_and_the_anatomy_stays() -> None:
    patient = Patient(3, "F", 50, (Study(0, 50, "PA", ()),))
    params = TINY.model_copy(update={"size": 256, "difficulty": 0.0})
    images = [
        next(draw_patient(patient, replace(FIRST_SITE, exposure=shift), params)).image.astype(float)
        for shift in (0.0, -0.08)
    ]
    grain = [np.median(np.abs(image - cv2.GaussianBlur(image, (0, 0), 1.0))) for image in images]
    assert images[1].mean() > images[0].mean() + 3 and grain[1] > 1.1 * grain[0]
    assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.95


def test_nothing_seen_no_box() -> None:
    assert box_around(None) is None
    assert box_around(np.zeros((8, 8), np.float32)) is None


def test_the_box_is_of_the_largest_part() -> None:
    extent: Array = np.zeros((20, 20), np.float32)
    extent[2:4, 2:4] = 1.0
    extent[10:15, 8:16] = 0.9
    extent[18, 18] = 0.2
    assert box_around(extent) == (8, 10, 8, 5)


def test_difficulty_makes_findings_subtler() -> None:
    mean = [
        np.mean([sample_lesion(np.random.default_rng(seed), difficulty).strength for seed in range(200)])
        for difficulty in (0.0, 0.5, 1.0)
    ]
    assert mean[0] == 1.0
    assert mean[0] - 0.2 > mean[1] > mean[2] + 0.2


def test_without_difficulty_labels_say_what_was_drawn() -> None:
    findings = ("Effusion", "Mass")
    patient = Patient(1, "M", 50, (Study(0, 50, "PA", findings),))
    for seed in range(20):
        (drawing,) = draw_patient(patient, FIRST_SITE, TINY.model_copy(update={"difficulty": 0.0, "seed": seed}))
        assert drawing.findings == findings
        assert set(drawing.boxes) == set(findings)


def test_at_full_difficulty_some_findings_are_missed_and_have_no_box() -> None:
    patient = Patient(1, "M", 50, (Study(0, 50, "PA", FINDINGS),))
    missed = 0
    for seed in range(12):
        (drawing,) = draw_patient(patient, FIRST_SITE, TINY.model_copy(update={"difficulty": 1.0, "seed": seed}))
        missed += len(FINDINGS) - len(drawing.findings)
        assert set(drawing.boxes) <= set(drawing.findings)
    assert 0.02 < missed / (12 * len(FINDINGS)) < 0.2
