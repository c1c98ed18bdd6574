"""Reading a batch of radiographs in the layout of NIH ChestX-ray14.

A batch is a folder with a table (`Data_Entry_2017_v2020.csv`), images in `images/` (or, as the archives unpack, in
`images_001/images/` and so on) and, optionally, boxes (`BBox_List_2017.csv`), the official split (`test_list.txt`) and
a list of findings that it does not label (`UNLABELLED.txt`).
Source: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017, and the files that
the NIH Clinical Center published with it.

Nothing written in a table is ever used as a path: image names are looked up among the files found in the folder.
"""

import csv
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.batch_layout import (
    BOX_HEADER,
    BOXES,
    HEADER,
    OLD_TABLE,
    SYNTHETIC_NOTICE,
    TABLE,
    TEST_LIST,
    UNLABELLED_NOTICE,
)
from chestxray.errors import UserError
from chestxray.findings import BOX_FINDING_NAMES, FINDINGS, UNLABELLED, parse_findings

MAX_NOTICE_BYTES = 4096

HEADERS = (HEADER, HEADER.replace("Patient Gender", "Patient Sex"))
"""NIH's own copy says `Patient Sex` today, older and mirrored ones `Patient Gender`; their rows are the same."""

IMAGE_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_ .+-]{0,199}\.(png|jpg|jpeg|dcm)", re.IGNORECASE | re.ASCII)
PATIENT_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .+-]{0,63}", re.ASCII)
SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
AGE = re.compile(r"0*(\d{1,3})(?:\.0*)?\s*([YMWD]?)", re.IGNORECASE | re.ASCII)
UNITS_PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
MAX_AGE = 120
MAX_SIDE = 65_535
"""No radiograph has more pixels on a side; a box beyond is an error of its table."""

Rejections = list[tuple[str, str]]


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
    """Reads the tables of a batch and finds its images, without decoding them.

    A row is rejected when it has a wrong number of fields, an unsafe image name, an unsafe patient id, an image that an
    earlier row has, a finding that is unknown or that the batch does not label, or no image file; a file when no row
    names it or another folder has it too; a box when its finding is unknown or not labelled or its numbers are not a
    box.

    Args:
        root: the folder.

    Returns:
        The batch. `studies` may be empty when every row was rejected.

    Raises:
        ValueError: there is no such folder, no table, no image folder, a wrong header, or an empty table;
            `UNLABELLED.txt` names an unknown finding or all 14, or is not a list at all; `test_list.txt` holds what is
            no name of an image.
    """
    if not root.is_dir():
        raise UserError(f"no such batch folder: {root}. Give the folder that holds {TABLE} and images/.")
    unlabelled = _unlabelled(root / UNLABELLED_NOTICE)
    rejected: Rejections = []
    table = _read_table(_table_path(root), rejected)
    named = set(table["image"]) | {image for image, _ in rejected}
    folders = _find_images(root, rejected)
    rejected += [(image, "file without table row") for image in folders if image not in named]
    studies = _studies(table, folders.keys(), unlabelled, rejected)
    images = studies["image"].tolist()
    boxes = _read_boxes(root / BOXES, frozenset(images), unlabelled, rejected)
    lines = sorted((_shown(image), reason) for image, reason in rejected)
    return Batch(
        studies=studies,
        paths={image: folders[image] / image for image in images},
        boxes=boxes,
        official_test=_official_test(root / TEST_LIST, table),
        synthetic=(root / SYNTHETIC_NOTICE).is_file(),
        rejected=pd.DataFrame(lines, columns=["image", "reason"], dtype="str"),
    )


def rows(path: Path, *headers: str) -> Iterator[list[str]]:
    """Yields the rows of a comma-separated table after its header, blank lines left out.

    Empty fields beyond those of the header are cut; a row may still have too few or too many.

    Args:
        path: a table in UTF-8, with or without byte order mark, with any line ends.
        headers: what its first line may be, apart from commas at its end; all of the same number of fields.

    Raises:
        ValueError: another header, or a row that cannot be split.
    """
    width = headers[0].count(",") + 1
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            given = ",".join(next(reader, [])).rstrip(",")
            if given not in headers:
                raise UserError(f"wrong header in {path}: expected {headers[0]!r}, given {given[:300]!r}. Mend it.")
            for row in reader:
                if row:
                    yield row if any(row[width:]) else row[:width]
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}. Look for an unclosed quotation mark.") from error


def canonical_patient(patient: str) -> str:
    """Returns a decimal patient id without leading zeros (`0013` and `13` are one patient), another as given."""
    return (patient.lstrip("0") or "0") if patient.isdecimal() else patient


def parse_age(text: str) -> int | None:
    """Reads an age such as `58`, `058Y`, `006M` (months), `012W` or `020D`.

    Returns:
        Whole years from 0 to 120, or None when unreadable or outside: an error of the data, not an age.
    """
    match = AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = int(match[1]) // UNITS_PER_YEAR[match[2].upper()]
    return years if years <= MAX_AGE else None


def _unlabelled(path: Path) -> tuple[str, ...]:
    """Returns the findings that the batch does not label, in the order of `FINDINGS`; none without the file."""
    if not path.is_file():
        return ()
    with path.open("rb") as file:
        content = file.read(MAX_NOTICE_BYTES + 1)
    try:
        if len(content) > MAX_NOTICE_BYTES:
            raise UserError(f"longer than {MAX_NOTICE_BYTES} bytes")
        names = {line.strip() for line in content.decode("utf-8-sig").splitlines()} - {""}
        unknown = sorted(names.difference(FINDINGS))
        if unknown:
            raise UserError(f"unknown finding {unknown[0][:100]!a}")
        if names == set(FINDINGS):
            raise UserError("it names all 14 findings, so the batch has no labels at all")
        if not names:
            raise UserError("it names no finding; delete it where all are labelled")
    except ValueError as error:  # not UTF-8 is one too
        mend = f"Name the findings that the batch does not label, one a line: some of {', '.join(FINDINGS)}"
        raise UserError(f"{path}: {error}. {mend}") from error
    return tuple(finding for finding in FINDINGS if finding in names)


def _table_path(root: Path) -> Path:
    for name in (TABLE, OLD_TABLE):
        if (root / name).is_file():
            return root / name
    raise UserError(f"no table in {root}: expected {TABLE} (or {OLD_TABLE}). Put the table of the images there.")


def _read_table(path: Path, rejected: Rejections) -> pd.DataFrame:
    """Returns the columns in use as Python strings, a row per table row of 11 fields; other rows go to `rejected`."""
    width = HEADER.count(",") + 1
    good: list[tuple[str, str, str, str, str, str]] = []
    for row in rows(path, *HEADERS):
        if len(row) == width:
            image, findings, _, patient, age, sex, view = map(str.strip, row[:7])
            good.append((image, findings, patient, age, sex, view))
        else:
            rejected.append((row[0].strip(), f"malformed row: {len(row)} fields, expected {width}"))
    if not good and not rejected:
        raise UserError(f"empty table: {path} has a header and no rows. Add a row per image.")
    return pd.DataFrame(good, columns=["image", "findings", "patient", "age", "sex", "view"], dtype=object)


def _find_images(root: Path, rejected: Rejections) -> dict[str, Path]:
    """Returns name -> folder of every image in the image folders, each folder listed once."""
    folders = [root / "images", *sorted(root.glob("images_[0-9][0-9][0-9]/images"))]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        raise UserError(f"no image folder in {root}: expected images/, or images_001/images/ and so on.")
    found: dict[str, Path] = {}
    for folder in folders:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.is_file()]
        for name in names:
            first = found.setdefault(name, folder)
            if first is not folder:
                where = f"in {first.relative_to(root)} and again in {folder.relative_to(root)}"
                rejected.append((name, f"duplicate file: {where}"))
    return found


def _studies(
    table: pd.DataFrame, files: Collection[str], unlabelled: tuple[str, ...], rejected: Rejections
) -> pd.DataFrame:
    """Checks the rows, moves the bad ones to `rejected` and types the others."""
    labels, wrong = _labels(table["findings"], unlabelled)
    image, patient = table["image"], table["patient"]
    reason = np.select(
        [
            np.array([IMAGE_NAME.fullmatch(name) is None for name in image], bool),
            np.array([PATIENT_ID.fullmatch(name) is None for name in patient], bool),
            image.duplicated().to_numpy(bool),
            wrong != "",
            ~image.isin(files).to_numpy(bool),
        ],
        ["unsafe image name", "malformed row: patient id", "duplicate row", wrong, "image missing"],
        default="",
    )
    bad = reason != ""
    rejected += zip(image[bad], reason[bad].tolist(), strict=True)
    good = table[~bad]
    studies = pd.DataFrame(
        {
            "image": good["image"].astype("str"),
            "patient": good["patient"].map(canonical_patient).astype("str"),
            "age": good["age"].map({text: parse_age(text) for text in good["age"].unique()}).astype("Int16"),
            "sex": good["sex"].where(good["sex"].isin(["M", "F"])).astype("str"),
            "view": good["view"].where(good["view"].isin(["PA", "AP"])).astype("str"),
        }
        | {finding: labels[~bad, column] for column, finding in enumerate(FINDINGS)}
    )
    return studies.sort_values("image", ignore_index=True)


def _labels(
    findings: "pd.Series[str]", unlabelled: tuple[str, ...]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.object_]]:
    """Reads N `Finding Labels` cells, each distinct cell once.

    Returns:
        Labels (N, 14), and N reasons, empty where the cell was read.
    """
    codes, cells = pd.factorize(findings)
    labels = np.zeros((len(cells), len(FINDINGS)), np.int8)
    labels[:, [finding in unlabelled for finding in FINDINGS]] = UNLABELLED
    reasons = [""] * len(cells)
    for number, cell in enumerate(cells):
        try:
            found = parse_findings(cell)
            _check_labelled(found, unlabelled)
        except ValueError as error:
            reasons[number] = _shown_reason(str(error))
        else:
            labels[number, [FINDINGS.index(finding) for finding in found]] = 1
    return labels[codes], np.array(reasons, dtype=object)[codes]


def _check_labelled(found: tuple[str, ...], unlabelled: tuple[str, ...]) -> None:
    for finding in found:
        if finding in unlabelled:
            raise UserError(f"{finding}, though {UNLABELLED_NOTICE} says that the batch does not label it")


def _read_boxes(path: Path, images: frozenset[str], unlabelled: tuple[str, ...], rejected: Rejections) -> pd.DataFrame:
    """Returns the boxes of `images`; empty without a table of boxes."""
    boxes: list[tuple[str, str, float, float, float, float]] = []
    for row in rows(path, BOX_HEADER) if path.is_file() else ():
        if row[0] not in images:
            continue
        try:
            box = _box(row)
            _check_labelled(box[:1], unlabelled)
            boxes.append((row[0], *box))
        except ValueError as error:
            rejected.append((row[0], _shown_reason(f"box: {error}")))
    frame = pd.DataFrame(boxes, columns=["image", "finding", "x", "y", "w", "h"])
    frame = frame.astype(
        {"image": "str", "finding": "str", "x": "float64", "y": "float64", "w": "float64", "h": "float64"}
    )
    return frame.sort_values("image", kind="stable", ignore_index=True)


def _box(row: list[str]) -> tuple[str, float, float, float, float]:
    if len(row) != BOX_HEADER.count(",") + 1:
        raise UserError(f"malformed row: {len(row)} fields, expected {BOX_HEADER.count(',') + 1}")
    if row[1] not in BOX_FINDING_NAMES:
        raise UserError(f"unknown finding {row[1]!r}")
    x, y, w, h = (float(number) for number in row[2:])
    if not (0 <= x < x + w <= MAX_SIDE and 0 <= y < y + h <= MAX_SIDE):
        raise UserError(f"not a box within an image: x={x:g}, y={y:g}, w={w:g}, h={h:g}")
    return BOX_FINDING_NAMES[row[1]], x, y, w, h


def _official_test(path: Path, table: pd.DataFrame) -> frozenset[str] | None:
    """Returns the patients with an image in the list, whether or not that image is usable."""
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    listed = {line.strip() for line in lines} - {""}
    if strange := [line for line in listed if IMAGE_NAME.fullmatch(line) is None]:
        raise UserError(f"{path} names images, one a line, such as 00000001_000.png; it has {_shown(min(strange))}")
    return frozenset(map(canonical_patient, table.loc[table["image"].isin(listed), "patient"]))


def _shown(image: str) -> str:
    return image if IMAGE_NAME.fullmatch(image) else ascii(image[:200])


def _shown_reason(reason: str) -> str:
    """Bounds a reason that quotes a cell, and escapes what a terminal or a table would not show."""
    return reason.encode("ascii", "backslashreplace").decode()[:200]
