"""Draw the studies of one patient: the image, the labels and the boxes of each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from chestxray.findings import FINDINGS
from chestxray.params import PhantomParams
from chestxray.phantom.anatomy import LEFT, RIGHT, Anatomy, breathe, sample_anatomy
from chestxray.phantom.canvas import Array, Canvas
from chestxray.phantom.chest import absorption, draw_chest
from chestxray.phantom.cohort import Patient, Study
from chestxray.phantom.exposure import draw_devices, expose
from chestxray.phantom.lesion import Lesion
from chestxray.phantom.mimics import draw_mimics, vary_anatomy
from chestxray.phantom.signs import SIGNS
from chestxray.phantom.site import Site

BOXED = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax")
"""Findings that have boxes in NIH's list."""

MISSED = 0.08
"""Share of drawn findings that the labels leave out at difficulty 1, as readers do."""

Box = tuple[int, int, int, int]
"""x, y, width and height in pixels."""


@dataclass(frozen=True)
class Drawing:
    """One drawn study.

    Attributes:
        image: `(size, size)` grey levels, uint8.
        findings: as labelled.
        boxes: by labelled finding.
    """

    image: NDArray[np.uint8]
    findings: tuple[str, ...]
    boxes: dict[str, Box]


def draw_patient(patient: Patient, site: Site, params: PhantomParams) -> Iterator[Drawing]:
    """Draw the studies of one patient, whose anatomy and places of lesions stay the same.

    Args:
        patient: with the studies to draw.
        site: where they are taken.
        params: size in pixels, difficulty, and the seed.

    Yields:
        A drawing for each study, in order.
    """
    rng = np.random.default_rng([params.seed, patient.number])
    anatomy = vary_anatomy(sample_anatomy(rng, patient.sex, patient.age), params.difficulty, rng)
    lesions = {finding: sample_lesion(rng, params.difficulty) for finding in FINDINGS}
    for study in patient.studies:
        exposure_rng = np.random.default_rng([params.seed, patient.number, study.followup + 1])
        yield draw_study(anatomy, lesions, study, site, params, exposure_rng)


def sample_lesion(rng: np.random.Generator, difficulty: float) -> Lesion:
    """Draw how a finding would look in one patient: the higher the difficulty (0..1), the subtler."""
    strength = max(0.03, 1 - 1.6 * difficulty * rng.beta(1.2, 1.3))
    return Lesion(int(rng.choice([RIGHT, LEFT])), strength, rng.random(), int(rng.integers(2**31)))


def draw_study(
    anatomy: Anatomy,
    lesions: dict[str, Lesion],
    study: Study,
    site: Site,
    params: PhantomParams,
    rng: np.random.Generator,
) -> Drawing:
    """Draw one radiograph.

    Args:
        anatomy: of the healthy patient.
        lesions: how each finding looks in this patient.
        study: view and findings.
        site: where it is taken.
        params: size in pixels and difficulty.
        rng: of this exposure.
    """
    shown = {finding: vary_lesion(lesions[finding], rng) for finding in study.findings}
    for finding, lesion in shown.items():
        anatomy = SIGNS[finding].deform(anatomy, lesion)
    anatomy = breathe(anatomy, study.view, 1.4 * params.difficulty * rng.beta(1.2, 2.5))
    shift = (rng.normal(0, 0.6), rng.normal(0, 0.7))
    canvas = Canvas.posed(params.size, rng.uniform(0.93, 1.06), rng.normal(0, 1.3), shift)
    chest = draw_chest(canvas, anatomy)
    shadows = {finding: SIGNS[finding].cast(chest, lesion) for finding, lesion in shown.items()}
    others = draw_mimics(chest, params.difficulty, rng) + draw_devices(chest, study.view, rng)
    image = expose(canvas, absorption(chest, [*shadows.values(), *others]), study.view, site, rng)
    labelled = tuple(finding for finding in study.findings if rng.random() >= MISSED * params.difficulty)
    boxes = {finding: box_around(shadows[finding].extent) for finding in labelled if finding in BOXED}
    return Drawing(image, labelled, {finding: box for finding, box in boxes.items() if box is not None})


def vary_lesion(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    """Draw how conspicuous the lesion is on another day: a little more or less."""
    return replace(lesion, strength=min(max(lesion.strength + rng.normal(0, 0.06), 0.0), 1.0))


def box_around(extent: Array | None) -> Box | None:
    """Return the box around the largest connected part of an extent (0..1), or None if it is empty."""
    if extent is None or not extent.any():
        return None
    inside = (extent > 0.5 * extent.max()).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    x, y, width, height, _ = parts[1 + int(np.argmax(parts[1:, cv2.CC_STAT_AREA]))].tolist()
    return x, y, width, height
