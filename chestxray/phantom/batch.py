"""The embedded default data set: synthetic frontal radiographs in NIH layout.

Every picture is drawn (see `phantom_chest`, `phantom_signs`, `phantom_exposure`); nothing of it comes from a person.
It lets the whole pipeline be rebuilt without a download, with known findings and their places. It is not clinical.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from chestxray.batch_layout import BOX_HEADER, BOXES, HEADER, SYNTHETIC_NOTICE, TABLE
from chestxray.findings import BOX_FINDING_NAMES, FINDINGS, NO_FINDING, RESEARCH_USE_ONLY
from chestxray.params import PhantomParams
from chestxray.phantom.anatomy import LEFT, RIGHT, Anatomy, breathed, grown_chest
from chestxray.phantom.canvas import FIELD, Array, Canvas
from chestxray.phantom.chest import absorption, draw_chest
from chestxray.phantom.cohort import Patient, Study, sample_cohort, sample_update
from chestxray.phantom.exposure import devices, exposed
from chestxray.phantom.lesion import Lesion
from chestxray.phantom.mimics import mimics, variant
from chestxray.phantom.signs import SIGNS
from chestxray.phantom.site import FIRST_SITE, Site, other_site
from chestxray.system.files import atomic_write
from chestxray.tracking.progress import progress

BOXED = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax")
"""Findings that the NIH list has boxes of."""

BOX_NAMES = {finding: name for name, finding in BOX_FINDING_NAMES.items()}

MISSED = 0.08
"""Share of drawn findings that the label leaves out, at difficulty 1: readers err."""

README = f"""Synthetic phantom radiographs in the layout of NIH ChestX-ray14.

Every image is a drawing made by a program. None shows a person, and nothing
measured on them says anything about clinical performance.
{RESEARCH_USE_ONLY}

images/                     8-bit grey PNG
{TABLE}   one row an image: findings, patient, age, sex, view
{BOXES}          boxes of focal findings, in pixels of the image
"""


Box = tuple[int, int, int, int]
Rows = tuple[list[str], list[str]]
"""Lines of the table of entries and of the table of boxes."""


@dataclass(frozen=True)
class Drawing:
    """One drawn study.

    Args:
        image: size×size grey levels, uint8.
        findings: as labelled.
        boxes: x, y, width and height in pixels, by labelled finding.
    """

    image: NDArray[np.uint8]
    findings: tuple[str, ...]
    boxes: dict[str, Box]


def write_batch(root: Path, params: PhantomParams, workers: int | None = None) -> None:
    """Writes the first phantom batch; the same params give the same bytes, whatever the number of workers.

    Args:
        root: the folder to be; one that is there is replaced once the new one is complete.
        params: how many studies and patients, their size in pixels, difficulty and seed.
        workers: processes; all cores when not given.

    Raises:
        ValueError: more or fewer studies than one to four a patient.
    """
    write_cohort(root, sample_cohort(params.studies, params.patients, params.seed), FIRST_SITE, params, workers)


def write_update(root: Path, params: PhantomParams, workers: int | None = None) -> None:
    """Writes the second batch, from another site, with some patients of the first; as reproducible as that.

    Args:
        root: the folder to be, as for `write_batch`.
        params: of the first batch, with `update`, the second.
        workers: processes; all cores when not given.
    """
    known, update, site = (
        sample_cohort(params.studies, params.patients, params.seed),
        params.update,
        other_site(params.update),
    )
    returning = min(update.returning, update.patients, len(known))
    cohort = sample_update(known, update.studies, update.patients, returning, site, params.seed)
    write_cohort(root, cohort, site, params, workers)


def write_cohort(root: Path, cohort: list[Patient], site: Site, params: PhantomParams, workers: int | None) -> None:
    """Draws patients as a site sees them, and writes them as one batch; the folder appears whole or not at all."""
    with atomic_write(root) as batch:
        images = batch / "images"
        images.mkdir(parents=True)
        write_tables(batch, list(written_patients(images, cohort, site, params, workers or os.cpu_count() or 1)))


def write_tables(batch: Path, rows: list[Rows]) -> None:
    """Writes the two tables and the note that says what this is."""
    entries = [HEADER, *(line for lines, _ in rows for line in lines)]
    boxes = [BOX_HEADER + ",,,", *(line for _, lines in rows for line in lines)]
    for name, text in ((TABLE, "\n".join(entries)), (BOXES, "\n".join(boxes)), (SYNTHETIC_NOTICE, README.rstrip())):
        (batch / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def written_patients(
    images: Path, cohort: list[Patient], site: Site, params: PhantomParams, workers: int
) -> Iterator[Rows]:
    """Draws every patient and writes the images; yields their rows in the order of the cohort."""
    write = partial(write_patient, images, site, params)
    if workers == 1:
        yield from progress(map(write, cohort), "drawing phantoms", len(cohort), "patient")
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        rows = pool.map(write, cohort, chunksize=4)
        yield from progress(rows, "drawing phantoms", len(cohort), "patient")


def write_patient(images: Path, site: Site, params: PhantomParams, patient: Patient) -> Rows:
    """Draws one patient's studies, writes the images, and says what goes into the tables."""
    entries, boxes = [], []
    spacing = 10 * FIELD / params.size
    for study, drawing in zip(patient.studies, draw_patient(patient, site, params), strict=True):
        name = f"{patient.number:08d}_{study.followup:03d}.png"
        if not cv2.imwrite(str(images / name), drawing.image):
            raise OSError(f"could not write {images / name}: is the disk full?")
        labels = "|".join(drawing.findings) or NO_FINDING
        entries.append(
            f"{name},{labels},{study.followup},{patient.number},{study.age},{patient.sex},{study.view},"
            f"{params.size},{params.size},{spacing},{spacing}"
        )
        for finding, box in drawing.boxes.items():
            boxes.append(f"{name},{BOX_NAMES[finding]},{','.join(str(float(value)) for value in box)},,,")
    return entries, boxes


def draw_patient(patient: Patient, site: Site, params: PhantomParams) -> Iterator[Drawing]:
    """Draws the studies of one patient, of whom anatomy and the places of lesions stay the same.

    Args:
        patient: with the studies to draw.
        site: where they are taken.
        params: size in pixels, difficulty, and the seed.
    """
    rng = np.random.default_rng([params.seed, patient.number])
    anatomy = variant(grown_chest(rng, patient.sex, patient.age), params.difficulty, rng)
    lesions = {finding: sample_lesion(rng, params.difficulty) for finding in FINDINGS}
    for study in patient.studies:
        yield draw_study(
            anatomy,
            lesions,
            study,
            site,
            params,
            np.random.default_rng([params.seed, patient.number, study.followup + 1]),
        )


def sample_lesion(rng: np.random.Generator, difficulty: float) -> Lesion:
    """How a finding would look in one patient: the subtler, the higher the difficulty."""
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
    """Draws one radiograph.

    Args:
        anatomy: of the healthy patient.
        lesions: how each finding looks in this patient.
        study: view and findings.
        site: where it is taken.
        params: size in pixels and difficulty.
        rng: of this exposure.
    """
    shown = {finding: changed(lesions[finding], rng) for finding in study.findings}
    for finding, lesion in shown.items():
        anatomy = SIGNS[finding].deform(anatomy, lesion)
    anatomy = breathed(anatomy, study.view, 1.4 * params.difficulty * rng.beta(1.2, 2.5))
    shift = (rng.normal(0, 0.6), rng.normal(0, 0.7))
    canvas = Canvas.posed(params.size, rng.uniform(0.93, 1.06), rng.normal(0, 1.3), shift)
    chest = draw_chest(canvas, anatomy)
    shadows = {finding: SIGNS[finding].cast(chest, lesion) for finding, lesion in shown.items()}
    chance = mimics(chest, params.difficulty, rng) + devices(chest, study.view, rng)
    image = exposed(canvas, absorption(chest, [*shadows.values(), *chance]), study.view, site, rng)
    labelled = tuple(finding for finding in study.findings if rng.random() >= MISSED * params.difficulty)
    boxes = {finding: box_around(shadows[finding].extent) for finding in labelled if finding in BOXED}
    return Drawing(image, labelled, {finding: box for finding, box in boxes.items() if box is not None})


def changed(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    """The lesion on another day: a little more or less of it."""
    return replace(lesion, strength=min(max(lesion.strength + rng.normal(0, 0.06), 0.0), 1.0))


def box_around(extent: Array | None) -> Box | None:
    """The box around the largest part of an extent (0..1): x, y, width, height in pixels; None if there is nothing."""
    if extent is None or not extent.any():
        return None
    inside = (extent > 0.5 * extent.max()).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    x, y, width, height, _ = parts[1 + int(np.argmax(parts[1:, cv2.CC_STAT_AREA]))].tolist()
    return x, y, width, height
