"""Read the tables of a batch in NIH layout: entries as typed studies, and boxes.

A row that can't be used is left out and returned with the reason; it stops nothing.
"""

import csv
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.batch_layout import BOX_HEADER, HEADER, UNLABELLED_NOTICE
from chestxray.errors import UserError
from chestxray.findings import BOX_FINDING_NAMES, FINDINGS, UNLABELLED, parse_findings

HEADERS = (HEADER, HEADER.replace("Patient Gender", "Patient Sex"))
"""The table that NIH offers says `Patient Sex`, mirrored copies say `Patient Gender`; their rows are the same."""

IMAGE_NAME = re.compile(
    r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_ .+-]{0,199}\.(png|jpe?g|tiff?|jp2|dcm|dicom)", re.IGNORECASE | re.ASCII
)
PATIENT_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .+-]{0,63}", re.ASCII)
AGE = re.compile(r"0*(\d{1,3})(?:\.0*)?\s*([YMWD]?)", re.IGNORECASE | re.ASCII)
UNITS_PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
MAX_AGE = 120
MAX_SIDE = 65_535
"""No radiograph has more pixels on a side; a box that reaches beyond is an error of its table."""

Rejections = list[tuple[str, str]]
"""Image name and reason of each thing left out."""

BOX_COLUMNS = {"image": "str", "finding": "str", "x": "float64", "y": "float64", "w": "float64", "h": "float64"}
"""Columns of the boxes, and their dtypes."""


def read_rows(path: Path, *headers: str) -> Iterator[list[str]]:
    """Yield the rows of a comma-separated table after its header, blank lines left out.

    Empty fields beyond those of the header are cut; a row may still have too few or too many.

    Args:
        path: a table in UTF-8, with or without byte order mark, with any line ends.
        headers: what its first line may be, apart from commas at its end; all of the same number of fields.

    Raises:
        UserError: another header, or a row that cannot be split.
    """
    width = headers[0].count(",") + 1
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            given = ",".join(next(reader, [])).rstrip(",")
            if given not in headers:
                raise UserError(
                    f"wrong header in {path}: expected {headers[0]!r}, given {given[:300]!r}. "
                    "Make the expected one its first line."
                )
            for row in reader:
                if row:
                    yield row if any(row[width:]) else row[:width]
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}. Look for an unclosed quotation mark.") from error


def canonical_patient(patient: str) -> str:
    """Return a decimal patient id without leading zeros (`0013` and `13` are one patient), another as given."""
    return (patient.lstrip("0") or "0") if patient.isdecimal() else patient


def parse_age(text: str) -> int | None:
    """Read an age such as `58`, `058Y`, `006M` (months), `012W` or `020D`.

    Returns:
        Whole years from 0 to 120, or None when unreadable or outside: an error of the data, not an age.
    """
    match = AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = int(match[1]) // UNITS_PER_YEAR[match[2].upper()]
    return years if years <= MAX_AGE else None


def show_image(image: str) -> str:
    """Return the name of an image for a message: as it is when safe, else cut, quoted and escaped."""
    return image if IMAGE_NAME.fullmatch(image) else ascii(image[:200])


def read_entries(path: Path) -> tuple[pd.DataFrame, Rejections]:
    """Read the table of entries as text.

    Returns:
        `image`, `findings`, `patient`, `age`, `sex` and `view`, a row per table row of 11 fields; and the other rows.

    Raises:
        UserError: another header, no rows, or a row that cannot be split.
    """
    width = HEADER.count(",") + 1
    good: list[tuple[str, str, str, str, str, str]] = []
    rejected: Rejections = []
    for row in read_rows(path, *HEADERS):
        if len(row) == width:
            image, findings, _, patient, age, sex, view = map(str.strip, row[:7])
            good.append((image, findings, patient, age, sex, view))
        else:
            rejected.append((row[0].strip(), f"malformed row: {len(row)} fields, expected {width}"))
    if not good and not rejected:
        raise UserError(f"empty table: {path} has a header and no rows. Add a row per image.")
    entries = pd.DataFrame(good, columns=["image", "findings", "patient", "age", "sex", "view"], dtype=object)
    return entries, rejected


def type_studies(
    entries: pd.DataFrame, files: Collection[str], unlabelled: tuple[str, ...]
) -> tuple[pd.DataFrame, Rejections]:
    """Check the entries and give their columns types.

    Args:
        entries: as `read_entries` returns them.
        files: names of the images that are there.
        unlabelled: findings that the batch does not label.

    Returns:
        The studies as in `Batch.studies`; and the entries that can't be used.
    """
    labels, label_faults = _parse_labels(entries["findings"], unlabelled)
    reasons = _entry_faults(entries, files, label_faults)
    bad = reasons != ""
    good = entries[~bad]
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
    rejected = list(zip(entries["image"][bad], reasons[bad].tolist(), strict=True))
    return studies.sort_values("image", ignore_index=True), rejected


def _entry_faults(
    entries: pd.DataFrame, files: Collection[str], label_faults: npt.NDArray[np.object_]
) -> npt.NDArray[np.object_]:
    """Return the first fault of each entry, empty where there is none."""
    image = entries["image"]
    conditions = [
        np.array([IMAGE_NAME.fullmatch(name) is None for name in image], bool),
        np.array([PATIENT_ID.fullmatch(name) is None for name in entries["patient"]], bool),
        image.duplicated().to_numpy(bool),
        label_faults != "",
        ~image.isin(files).to_numpy(bool),
    ]
    return np.select(
        conditions,
        ["unsafe image name", "malformed row: patient id", "duplicate row", label_faults, "image missing"],
        default="",
    )


def _parse_labels(
    findings: "pd.Series[str]", unlabelled: tuple[str, ...]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.object_]]:
    """Read N `Finding Labels` cells, each distinct cell once.

    Returns:
        Labels `(N, 14)`, and N reasons, empty where the cell was read.
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
            reasons[number] = _bound_reason(str(error))
        else:
            labels[number, [FINDINGS.index(finding) for finding in found]] = 1
    return labels[codes], np.array(reasons, dtype=object)[codes]


def _check_labelled(found: tuple[str, ...], unlabelled: tuple[str, ...]) -> None:
    for finding in found:
        if finding in unlabelled:
            raise ValueError(f"{finding}, though {UNLABELLED_NOTICE} says that the batch does not label it")


def read_boxes(path: Path, images: Collection[str], unlabelled: tuple[str, ...]) -> tuple[pd.DataFrame, Rejections]:
    """Read the boxes of `images`.

    Args:
        path: the table of boxes, which need not be there.
        images: others' boxes are passed over.
        unlabelled: findings that the batch does not label.

    Returns:
        The boxes as in `Batch.boxes`; and those that can't be used.

    Raises:
        UserError: another header, or a row that cannot be split.
    """
    boxes: list[tuple[str, str, float, float, float, float]] = []
    rejected: Rejections = []
    for row in read_rows(path, BOX_HEADER) if path.is_file() else ():
        if row[0] not in images:
            continue
        try:
            box = _parse_box(row)
            _check_labelled(box[:1], unlabelled)
            boxes.append((row[0], *box))
        except ValueError as error:
            rejected.append((row[0], _bound_reason(f"box: {error}")))
    frame = pd.DataFrame(boxes, columns=list(BOX_COLUMNS)).astype(BOX_COLUMNS)
    return frame.sort_values("image", kind="stable", ignore_index=True), rejected


def _parse_box(row: list[str]) -> tuple[str, float, float, float, float]:
    width = BOX_HEADER.count(",") + 1
    if len(row) != width:
        raise ValueError(f"malformed row: {len(row)} fields, expected {width}")
    if row[1] not in BOX_FINDING_NAMES:
        raise ValueError(f"unknown finding {row[1]!r}")
    x, y, w, h = (float(number) for number in row[2:])
    if not (0 <= x < x + w <= MAX_SIDE and 0 <= y < y + h <= MAX_SIDE):
        raise ValueError(f"not a box within an image: x={x:g}, y={y:g}, w={w:g}, h={h:g}")
    return BOX_FINDING_NAMES[row[1]], x, y, w, h


def _bound_reason(reason: str) -> str:
    """Cut a reason that quotes a cell, and escape what a terminal or a table would not show."""
    return reason.encode("ascii", "backslashreplace").decode()[:200]
