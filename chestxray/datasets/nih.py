"""Read a batch of radiographs in the layout of NIH ChestX-ray14, without decoding its images.

A batch is a folder with a table (`Data_Entry_2017_v2020.csv`), images in `images/` (or, as the archives unpack, in
`images_001/images/` and so on) and, optionally, boxes (`BBox_List_2017.csv`), the official split (`test_list.txt`) and
a list of findings that it does not label (`UNLABELLED.txt`).
Source: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017, and the files that
the NIH Clinical Center published with it.

Nothing written in a table is ever used as a path: image names are looked up among the files found in the folder.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from chestxray.batch_layout import BOXES, OLD_TABLE, SYNTHETIC_NOTICE, TABLE, TEST_LIST, UNLABELLED_NOTICE
from chestxray.datasets.nih_table import (
    IMAGE_NAME,
    Rejections,
    canonical_patient,
    read_boxes,
    read_entries,
    show_image,
    type_studies,
)
from chestxray.errors import UserError
from chestxray.findings import FINDINGS

MAX_NOTICE_BYTES = 4096
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".jp2", ".dcm", ".dicom")


@dataclass(frozen=True)
class Batch:
    """A batch as read: what is usable, and what is not and why.

    Attributes:
        studies: one row per usable image, sorted by image: `image`, `patient` (str), `age` (Int16, years, 0-120 or NA),
            `sex` ("M", "F" or NA), `view` ("PA", "AP" or NA), and the 14 findings (int8: 1 present, 0 absent, -1 not
            labelled).
        paths: the file of each image of `studies`.
        boxes: `image`, `finding`, `x`, `y`, `w`, `h` (float64, pixels of the image file, origin top left), of images of
            `studies` only, sorted by image.
        official_test: the patients of this batch with an image in `test_list.txt`; None without that file.
        synthetic: whether the batch says that its images are phantoms.
        rejected: `image`, `reason`, one line per thing left out, sorted. An unsafe name stands quoted and escaped.
    """

    studies: pd.DataFrame
    paths: dict[str, Path]
    boxes: pd.DataFrame
    official_test: frozenset[str] | None
    synthetic: bool
    rejected: pd.DataFrame


def read_batch(root: Path) -> Batch:
    """Read the tables of a batch and find its images.

    A row is rejected when it has a wrong number of fields, an unsafe image name, an unsafe patient id, an image that an
    earlier row has, a finding that is unknown or that the batch does not label, or no image file; a file when no row
    names it or another folder has it too; a box when its finding is unknown or not labelled or its numbers are not a
    box.

    Args:
        root: the folder.

    Returns:
        The batch. `studies` may be empty when every row was rejected.

    Raises:
        UserError: there is no such folder, no table, no image folder, a wrong header, or an empty table;
            `UNLABELLED.txt` names an unknown finding or all 14, or is not a list at all; `test_list.txt` holds
            something else than names of images.
    """
    if not root.is_dir():
        raise UserError(f"no such batch folder: {root}. Give the folder that holds {TABLE} and images/.")
    unlabelled = _read_unlabelled(root / UNLABELLED_NOTICE)
    entries, bad_rows = read_entries(_find_table(root))
    folders, duplicates = _find_images(root)
    named = set(entries["image"]) | {image for image, _ in bad_rows}
    strays = [(image, "file without table row") for image in folders if image not in named]
    studies, bad_entries = type_studies(entries, folders.keys(), unlabelled)
    images = studies["image"].tolist()
    boxes, bad_boxes = read_boxes(root / BOXES, frozenset(images), unlabelled)
    rejected = [*bad_rows, *duplicates, *strays, *bad_entries, *bad_boxes]
    lines = sorted((show_image(image), reason) for image, reason in rejected)
    return Batch(
        studies=studies,
        paths={image: folders[image] / image for image in images},
        boxes=boxes,
        official_test=_read_official_test(root / TEST_LIST, entries),
        synthetic=(root / SYNTHETIC_NOTICE).is_file(),
        rejected=pd.DataFrame(lines, columns=["image", "reason"], dtype="str"),
    )


def _read_unlabelled(path: Path) -> tuple[str, ...]:
    """Return the findings that the batch does not label, in the order of `FINDINGS`; none without the file."""
    if not path.is_file():
        return ()
    with path.open("rb") as file:
        content = file.read(MAX_NOTICE_BYTES + 1)
    try:
        names = _parse_unlabelled(content)
    except ValueError as error:  # not UTF-8 is one too
        mend = f"Name the findings that the batch does not label, one a line: some of {', '.join(FINDINGS)}"
        raise UserError(f"{path}: {error}. {mend}") from error
    return tuple(finding for finding in FINDINGS if finding in names)


def _parse_unlabelled(content: bytes) -> set[str]:
    if len(content) > MAX_NOTICE_BYTES:
        raise ValueError(f"longer than {MAX_NOTICE_BYTES} bytes")
    names = {line.strip() for line in content.decode("utf-8-sig").splitlines()} - {""}
    unknown = sorted(names.difference(FINDINGS))
    if unknown:
        raise ValueError(f"unknown finding {unknown[0][:100]!a}")
    if names == set(FINDINGS):
        raise ValueError("it names all 14 findings, so the batch has no labels at all")
    if not names:
        raise ValueError("it names no finding; delete it where all are labelled")
    return names


def _find_table(root: Path) -> Path:
    for name in (TABLE, OLD_TABLE):
        if (root / name).is_file():
            return root / name
    raise UserError(f"no table in {root}: expected {TABLE} (or {OLD_TABLE}). Put the table of the images there.")


def _find_images(root: Path) -> tuple[dict[str, Path], Rejections]:
    """Return the folder of every image, each folder listed once; and the images that are in two."""
    folders = [root / "images", *sorted(root.glob("images_[0-9][0-9][0-9]/images"))]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        raise UserError(f"no image folder in {root}: expected images/, or images_001/images/ and so on.")
    found: dict[str, Path] = {}
    rejected: Rejections = []
    for folder in folders:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.is_file()]
        for name in names:
            first = found.setdefault(name, folder)
            if first is not folder:
                where = f"in {first.relative_to(root)} and again in {folder.relative_to(root)}"
                rejected.append((name, f"duplicate file: {where}"))
    return found, rejected


def _read_official_test(path: Path, entries: pd.DataFrame) -> frozenset[str] | None:
    """Return the patients with an image in the list, whether or not that image is usable; None without a list."""
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    listed = {line.strip() for line in lines} - {""}
    if strange := [line for line in listed if IMAGE_NAME.fullmatch(line) is None]:
        raise UserError(f"{path} names images, one a line, such as 00000001_000.png; it has {show_image(min(strange))}")
    return frozenset(map(canonical_patient, entries.loc[entries["image"].isin(listed), "patient"]))
