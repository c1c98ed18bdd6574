"""Write a batch of synthetic radiographs in the layout of NIH ChestX-ray14.

The batches let the whole pipeline be rebuilt without a download, with known findings and known places of them. Every
image is a drawing; nothing of it comes from a person, and nothing measured on it is clinical. See
docs/decisions/phantoms.md.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2

from chestxray.batch_layout import BOX_HEADER, BOXES, HEADER, SYNTHETIC_NOTICE, TABLE
from chestxray.findings import BOX_FINDING_NAMES, NO_FINDING, RESEARCH_USE_ONLY
from chestxray.params import PhantomParams
from chestxray.phantom.canvas import FIELD
from chestxray.phantom.cohort import Patient, sample_cohort, sample_update
from chestxray.phantom.shortcut import take_shortcut
from chestxray.phantom.site import FIRST_SITE, Site, other_site
from chestxray.phantom.study import draw_patient
from chestxray.system.files import atomic_write
from chestxray.system.parent import end_with_parent
from chestxray.tracking.progress import progress

BOX_NAMES = {finding: name for name, finding in BOX_FINDING_NAMES.items()}

NOTICE = f"""Synthetic phantom radiographs in the layout of NIH ChestX-ray14.

Every image is a drawing made by a program. None shows a person, and nothing
measured on them says anything about clinical performance.
{RESEARCH_USE_ONLY}

images/                     8-bit grey PNG
{TABLE}   one row an image: findings, patient, age, sex, view
{BOXES}          boxes of focal findings, in pixels of the image
"""

TableLines = tuple[list[str], list[str]]
"""Lines of the table of entries, and of the table of boxes."""


def write_batch(root: Path, params: PhantomParams, workers: int | None = None) -> None:
    """Write the first phantom batch; the same params give the same bytes, whatever the number of workers.

    Args:
        root: the folder to make; an existing one is replaced once the new one is complete.
        params: how many studies and patients, their size in pixels, difficulty and seed.
        workers: processes; by default one a core.

    Raises:
        ValueError: more or fewer studies than one to four a patient.
    """
    cohort = sample_cohort(params.studies, params.patients, params.seed)
    write_cohort(root, cohort, FIRST_SITE, params, workers)


def write_update(root: Path, params: PhantomParams, workers: int | None = None) -> None:
    """Write the second batch, from another site, with some patients of the first; as reproducible as that.

    Args:
        root: the folder to make, as for `write_batch`.
        params: of the first batch, with `update`, the second.
        workers: processes; by default one a core.
    """
    known = sample_cohort(params.studies, params.patients, params.seed)
    update = params.update
    site = other_site(update)
    returning = min(update.returning, update.patients, len(known))
    cohort = sample_update(known, update.studies, update.patients, returning, site, params.seed)
    write_cohort(root, cohort, site, params, workers)


def write_cohort(root: Path, cohort: list[Patient], site: Site, params: PhantomParams, workers: int | None) -> None:
    """Draw patients as a site sees them, and write them as one batch; the folder appears whole or not at all."""
    with atomic_write(root) as batch:
        images = batch / "images"
        images.mkdir(parents=True)
        write_tables(batch, list(write_patients(images, cohort, site, params, workers or os.cpu_count() or 1)))


def write_tables(batch: Path, lines: list[TableLines]) -> None:
    """Write the two tables, and the notice that the batch is synthetic."""
    entries = [HEADER, *(line for patient, _ in lines for line in patient)]
    boxes = [BOX_HEADER + ",,,", *(line for _, patient in lines for line in patient)]
    for name, text in ((TABLE, "\n".join(entries)), (BOXES, "\n".join(boxes)), (SYNTHETIC_NOTICE, NOTICE.rstrip())):
        (batch / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def write_patients(
    images: Path, cohort: list[Patient], site: Site, params: PhantomParams, workers: int
) -> Iterator[TableLines]:
    """Draw every patient and write the images; yield their lines in the order of the cohort."""
    write = partial(write_patient, images, site, params)
    if workers == 1:
        yield from progress(map(write, cohort), "drawing phantoms", len(cohort), "patient")
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as pool:
        lines = pool.map(write, cohort, chunksize=4)
        yield from progress(lines, "drawing phantoms", len(cohort), "patient")


def _begin() -> None:
    """Prepare a worker."""
    cv2.setNumThreads(1)
    end_with_parent()


def write_patient(images: Path, site: Site, params: PhantomParams, patient: Patient) -> TableLines:
    """Draw one patient's studies and write the images; return the lines of the tables."""
    entries: list[str] = []
    boxes: list[str] = []
    for study, drawn in zip(patient.studies, draw_patient(patient, site, params), strict=True):
        name = f"{patient.number:08d}_{study.followup:03d}.png"
        drawing = take_shortcut(drawn, params, (patient.number, study.followup))
        size = len(drawing.image)
        spacing = 10 * FIELD / size
        (images / name).write_bytes(cv2.imencode(".png", drawing.image)[1].tobytes())  # imwrite swallows a full disk
        labels = "|".join(drawing.findings) or NO_FINDING
        entries.append(
            f"{name},{labels},{study.followup},{patient.number},{study.age},{patient.sex},{study.view},"
            f"{size},{size},{spacing},{spacing}"
        )
        for finding, box in drawing.boxes.items():
            boxes.append(f"{name},{BOX_NAMES[finding]},{','.join(str(float(value)) for value in box)},,,")
    return entries, boxes
