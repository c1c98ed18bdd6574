"""Read a batch of radiographs, without decoding its images.

A batch is a folder with a table of any kind in `chestxray/datasets/tables/shapes.py`, images in whatever folders and,
optionally, boxes (`BBox_List_2017.csv`), the official split (`test_list.txt`) and a list of findings that it does not
label (`UNLABELLED.txt`).
Sources: Wang et al., "ChestX-ray8", CVPR 2017; Irvin et al., "CheXpert", AAAI 2019; Johnson et al., "MIMIC-CXR-JPG",
2019; Bustos et al., "PadChest", Medical Image Analysis 2020; Nguyen et al., "VinDr-CXR", Scientific Data 2022.

Nothing written in a table is ever used as a path: image names are looked up among the files found in the folder.
"""

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.batch_layout import BOXES, TEST_LIST, UNLABELLED_NOTICE
from chestxray.datasets.tables.answers import PRESENT, UNCERTAIN, Faults, final_labels
from chestxray.datasets.tables.boxes import published_side, read_box_table, type_boxes
from chestxray.datasets.tables.entries import Entries
from chestxray.datasets.tables.image_files import NOT_UNIQUE, check_folder, check_inside, find_images, stem
from chestxray.datasets.tables.label_names import LabelNames
from chestxray.datasets.tables.notices import is_synthetic, read_image_list, read_unlabelled
from chestxray.datasets.tables.rejections import NOT_FRONTAL, Rejection, rejection_table, shown
from chestxray.datasets.tables.rows import (
    IMAGE_IS_PATIENT,
    NamedRows,
    first_faults,
    left_out,
    strays,
    type_rows,
)
from chestxray.datasets.tables.shapes import find_table
from chestxray.errors import UserError
from chestxray.findings import UNLABELLED, Vocabulary
from chestxray.params import ReadingParams, Views

AS_SAID = ReadingParams()
ALL_VIEWS = "prepare.views: all (chestxray evaluate: --views all)"


@dataclass(frozen=True)
class Batch:
    """A batch as read: what is usable, and what is not and why.

    Attributes:
        root: its folder.
        table: the kind of its table, such as "CheXpert".
        read_as: that and the file, such as "Kaggle sample (sample_labels.csv)".
        notes: what a person should know of how it was read, a line each.
        findings: the names and the order of the columns of labels.
        studies: one row per usable image, sorted by image: `image`, `patient` (str), `age` (Int16, years, 0-120 or NA),
            `sex` ("M", "F" or NA), `view` ("PA", "AP", "LATERAL", "OTHER" or NA), and the findings (int8: 1 present, 0
            absent, -1 not labelled). `image` is the name of the file, or its path within the batch for all of them
            where two files have one name.
        paths: the file of each image of `studies`.
        boxes: `image`, `finding`, `x`, `y`, `w`, `h` (float64, pixels, origin top left) and `where` (file and row), of
            images of `studies` only, sorted by image.
        boxes_side: side of the square images in whose pixels the boxes are; None where it is the image files.
        official_test: the patients of this batch with an image in `test_list.txt`; None without that file.
        synthetic: whether the batch says that its images are phantoms.
        patients_by: whether patients are those of the table ("table"), or each image counts as one ("image").
        rejected: `image`, `where`, `reason`, one line per thing that can't be used, sorted. An unsafe name stands
            quoted and escaped.
        left_out: the same of what is fine but not wanted: listed to be excluded, not frontal, or an image that no row
            names in a folder with several tables.
        unknown_files: paths of files that no row names and that are no images by their names; what they hold may tell.
    """

    root: Path
    table: str
    read_as: str
    notes: tuple[str, ...]
    findings: tuple[str, ...]
    studies: pd.DataFrame
    paths: dict[str, Path]
    boxes: pd.DataFrame
    boxes_side: int | None
    official_test: frozenset[str] | None
    synthetic: bool
    patients_by: Literal["table", "image"]
    rejected: pd.DataFrame
    left_out: pd.DataFrame
    unknown_files: tuple[str, ...]


def read_batch(root: Path, vocabulary: Vocabulary, reading: ReadingParams = AS_SAID, views: Views = "frontal") -> Batch:
    """Read the tables of a batch and find its images.

    A row is rejected when it has a wrong number of fields, an image that is missing, not unique or outside of the
    batch, no readable patient id, an image that an earlier row has, a label that can't be read, or a finding that
    `UNLABELLED.txt` says is not labelled; a file when no row names it; a box when its finding is unknown or not
    labelled or its numbers are not a box.

    Args:
        root: the folder.
        vocabulary: the findings, and by what names tables call them.
        reading: what a person says of the table; `BatchParams` is one.
        views: whether images that the table says are not frontal are left out.

    Returns:
        The batch. `studies` may be empty when every row was rejected.

    Raises:
        UserError: there is no such folder, no table or none that can be read, no image, no column of patients, labels
            that nobody knows; all is left out; `UNLABELLED.txt` names an unknown finding or all of them, or is not a
            list at all; `test_list.txt` is no file, or has something else than names of images, one that two
            files have, or none that the table has.
    """
    check_folder(root)
    synthetic = is_synthetic(root, reading.follow_links)
    names = LabelNames(vocabulary, reading.labels, phantoms=synthetic)
    unlabelled = read_unlabelled(root, names.findings, reading.follow_links)
    excluded = read_image_list(root, reading.exclude, reading.follow_links) if reading.exclude else ()
    table = find_table(root, reading.table, names, reading.follow_links)
    entries = table.shape.read(table.columns)
    files = find_images(root, reading.follow_links)
    rows, row_notes = type_rows(entries.rows, files, reading.patients, table.path)
    labels, label_faults, label_notes = _read_labels(entries, names.findings, unlabelled, reading.uncertain)
    named = NamedRows(rows, files)
    rows["left_out"], list_notes = left_out(rows, named, excluded, views)
    rows["fault"] = first_faults(rows, label_faults)
    good = ((rows["left_out"] == "") & (rows["fault"] == "")).to_numpy(bool)
    _check_some_frontal(rows, good, table.path)
    boxes = _read_boxes(root, reading, entries, named, good, names, unlabelled)
    official_test, test_notes = _read_official_test(root, reading, named)
    unnamed, unknown = strays(rows, entries.malformed, files, excluded)
    rejected = [
        *entries.malformed,
        *_rejections(rows[rows["left_out"] == ""], "fault"),
        *([] if table.others else unnamed),
        *boxes.rejected,
    ]
    return Batch(
        root=root,
        table=table.shape.name,
        read_as=table.describe(),
        notes=tuple(
            chain(entries.notes, label_notes, row_notes, list_notes, test_notes, boxes.notes(), _note_unknown(unknown))
        ),
        findings=names.findings,
        studies=_studies(rows, labels, names.findings, good),
        paths={image: root / path for image, path in zip(rows.loc[good, "image"], rows.loc[good, "path"], strict=True)},
        boxes=boxes.boxes,
        boxes_side=boxes.side,
        official_test=official_test,
        synthetic=synthetic,
        patients_by="image" if reading.patients == IMAGE_IS_PATIENT else "table",
        rejected=rejection_table(rejected),
        left_out=rejection_table([*_rejections(rows, "left_out"), *(unnamed if table.others else [])]),
        unknown_files=() if table.others else unknown,
    )


def _studies(
    rows: pd.DataFrame, labels: npt.NDArray[np.int8], findings: tuple[str, ...], good: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    """Return the good rows with their labels, as `Batch.studies`."""
    studies = rows.loc[good, ["image", "patient", "age", "sex", "view"]].astype({"image": "str", "patient": "str"})
    studies = studies.assign(**{finding: labels[good, column] for column, finding in enumerate(findings)})
    return studies.sort_values("image", ignore_index=True)


def _read_labels(
    entries: Entries, findings: tuple[str, ...], unlabelled: tuple[str, ...], uncertain: str
) -> tuple[npt.NDArray[np.int8], Faults, list[str]]:
    """Return the labels of each row, why they can't be used or nothing, and a note on uncertain ones."""
    labels = final_labels(entries.answers, uncertain)
    faults = entries.faults
    for finding in unlabelled:
        column = findings.index(finding)
        said = f"{finding}, though {UNLABELLED_NOTICE} says that the batch does not label it"
        faults = np.where((faults == "") & (entries.answers[:, column] == PRESENT), said, faults)
        labels[:, column] = UNLABELLED
    counts = (entries.answers == UNCERTAIN).sum(axis=0)
    counted = [f"{finding} {count}" for finding, count in zip(findings, counts, strict=True) if count]
    return labels, faults, [f"uncertain, read as {uncertain}: {', '.join(counted)}"] if counted else []


def _check_some_frontal(rows: pd.DataFrame, good: npt.NDArray[np.bool_], table: Path) -> None:
    """Refuse a batch of which nothing is left since its views are not frontal."""
    views = rows.loc[rows["left_out"].str.startswith(NOT_FRONTAL), "view"].value_counts()
    if not good.any() and len(views):
        raise UserError(
            f"no frontal view: {int(views.sum())} of {len(rows)} rows of {table} are not frontal "
            f"({', '.join(f'{count} {view}' for view, count in views.items())}). Give frontal radiographs (PA or AP); "
            f"{ALL_VIEWS} reads every view"
        )


def _rejections(rows: pd.DataFrame, column: str) -> list[Rejection]:
    """Return the rows with a reason in a column, under the table's name of the image."""
    bad = rows[rows[column] != ""]
    return [Rejection(*row) for row in zip(bad["name"], bad["where"], bad[column], strict=True)]


def _note_unknown(unknown: tuple[str, ...]) -> list[str]:
    """Say which files are passed over if they hold no image."""
    if not unknown:
        return []
    example = f"such as {shown(unknown[0])}: passed over unless they hold an image"
    return [f"{len(unknown)} files that no row names are no images by their names, {example}"]


class _Boxes(NamedTuple):
    """Boxes of studies, the side of the images in whose pixels they are, as `Batch` has both, and the rejected ones."""

    boxes: pd.DataFrame
    side: int | None
    rejected: list[Rejection]

    def notes(self) -> list[str]:
        """Say in pixels of what the boxes are, if it isn't those of the image files."""
        if self.side is None:
            return []
        pixels = f"{self.side} × {self.side}"
        return [f"{BOXES} is NIH's own: its boxes are in pixels of {pixels}, whatever the size of the images"]


def _read_boxes(
    root: Path,
    reading: ReadingParams,
    entries: Entries,
    named: NamedRows,
    good: npt.NDArray[np.bool_],
    names: LabelNames,
    unlabelled: tuple[str, ...],
) -> _Boxes:
    """Read the boxes of studies: of their table and of the table of boxes, where there is one."""
    tables = [] if entries.boxes is None else [entries.boxes]
    malformed: list[Rejection] = []
    side = None
    if os.path.lexists(root / BOXES):
        check_inside(root, root / BOXES, "the table of boxes", reading.follow_links)
        table, malformed = read_box_table(root / BOXES, names)
        side = published_side(root / BOXES)
        tables.append(table)
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["image"])
    images: dict[str, str] = {}
    for name in {*rows["image"], *(row.image for row in malformed)}:
        if places := [place for place in named.match(name) if good[place]]:
            images[name] = named.rows["image"].iloc[places[0]]
    boxes, rejected = type_boxes(rows, images, names, unlabelled)
    return _Boxes(boxes, side, [*(row for row in malformed if row.image in images), *rejected])


def _read_official_test(
    root: Path, reading: ReadingParams, named: NamedRows
) -> tuple[frozenset[str] | None, list[str]]:
    """Return the patients with an image in the list, whether or not that image is usable; None without a list.

    Notes say how many lines name no image of the table. A line that may mean several files is refused, and so is a list
    that names no image at all; an empty one says that nobody is test.
    """
    path = root / TEST_LIST
    if not os.path.lexists(path):
        return None, []
    matched = {name: named.match(name) for name in read_image_list(root, TEST_LIST, reading.follow_links)}
    nothing = [name for name, places in matched.items() if not places]
    suffixed = any(stem(name) != name for name in named.rows["name"])
    strange = [name for name in nothing if suffixed and stem(name) == name]
    if strange:
        raise UserError(f"{path} names images, one a line, as the table does; it has {shown(min(strange))}")
    for name in nothing:
        _, reason = named.files.find(name)
        if reason.startswith(NOT_UNIQUE):
            raise UserError(f"{path} names {shown(name)}: {reason}")
    if matched and len(nothing) == len(matched):
        raise UserError(
            f"{path}: none of its {len(nothing)} lines names an image of the table, such as {shown(nothing[0])}. Give "
            "names as the table does; an empty list says that no patient of the batch is test"
        )
    listed = named.rows.iloc[[place for places in matched.values() for place in places]]
    example = f"such as {shown(nothing[0])}" if nothing else ""
    notes = [f"{TEST_LIST}: {len(nothing)} of {len(matched)} lines name no image of the table, {example}"]
    return frozenset(listed.loc[listed["patient_fault"] == "", "patient"]), notes if nothing else []
