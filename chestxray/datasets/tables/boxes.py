"""Read the boxes of a batch: of findings, in pixels of the image files or of NIH's."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from chestxray.batch_layout import NIH_BOXES_SHA256, NIH_SIDE, UNLABELLED_NOTICE
from chestxray.datasets.tables.columns import Columns
from chestxray.datasets.tables.label_names import PASSED_OVER, LabelNames
from chestxray.datasets.tables.rejections import Rejection, given, shown
from chestxray.datasets.tables.text_table import read_columns, read_headers
from chestxray.errors import UserError

MAX_SIDE = 65_535
"""No radiograph has more pixels on a side; a box that reaches beyond is an error of its table."""
COLUMNS = {
    "image": "str", "finding": "str", "x": "float64", "y": "float64", "w": "float64", "h": "float64", "where": "str",
}  # fmt: skip
"""Columns of the boxes, and their dtypes."""
SIDES = {"x": "Bbox [x", "y": "y", "w": "w", "h": "h]"}
HEADER = "Image Index, Finding Label, Bbox [x, y, w, h]"


def read_box_table(path: Path, names: LabelNames) -> tuple[pd.DataFrame, list[Rejection]]:
    """Read a table of boxes as text: `image`, `label`, `x`, `y`, `w`, `h` and `where`.

    Returns:
        The boxes; and the rows with a wrong number of fields.

    Raises:
        UserError: another header, or not a table.
    """
    for header in read_headers(path):
        columns = Columns(header, names)
        if columns.have("Image Index", "Finding Label", *SIDES.values()):
            break
    else:
        given = shown(", ".join(read_headers(path)[0].names))
        raise UserError(f"wrong header in {path}: expected {HEADER}; given {given}. Mend its first line.")
    wanted = {"image": "Image Index", "label": "Finding Label", **SIDES}
    places = {name: place for name, column in wanted.items() if (place := columns.place(column)) is not None}
    try:
        rows, malformed = read_columns(header, places)
    except UserError as error:
        if "empty table" not in str(error):
            raise
        return pd.DataFrame(columns=[*wanted, "where"], dtype=object), []
    rows["where"] = [f"{path.name} row {number}" for number in rows.index]
    width = len(header.names)
    rejected = [
        Rejection(
            row.fields[places["image"]].strip() if len(row.fields) > places["image"] else "",
            f"{path.name} row {row.number}",
            f"box: malformed row: {len(row.fields)} fields, expected {width}",
        )
        for row in malformed
    ]
    return rows, rejected


def published_side(path: Path) -> int | None:
    """Return the side of the square images in whose pixels NIH's own table of boxes is; None of any other table."""
    with path.open("rb") as file:
        return NIH_SIDE if hashlib.file_digest(file, "sha256").hexdigest() == NIH_BOXES_SHA256 else None


def type_boxes(
    rows: pd.DataFrame, images: Mapping[str, str], names: LabelNames, unlabelled: tuple[str, ...]
) -> tuple[pd.DataFrame, list[Rejection]]:
    """Check boxes and give their columns types.

    Args:
        rows: boxes as text, `image` as the table calls it.
        images: the image of each name that is a study; boxes of others, and of what is passed over, are none.
        names: what the labels mean.
        unlabelled: findings that the batch does not label.

    Returns:
        `image`, `finding`, `x`, `y`, `w`, `h`, `where`, sorted by image; and those that can't be used.
    """
    boxes: list[tuple[str, str, float, float, float, float, str]] = []
    rejected: list[Rejection] = []
    for row in rows.itertuples(index=False):
        image = images.get(str(row.image))
        label = str(row.label)
        if image is None or names.find(label) == PASSED_OVER or names.is_finding_elsewhere(label):
            continue
        try:
            boxes.append((image, *_parse_box(row, names, unlabelled), str(row.where)))
        except ValueError as error:
            rejected.append(Rejection(image, str(row.where), f"box: {error}"))
    frame = pd.DataFrame(boxes, columns=list(COLUMNS)).astype(COLUMNS)
    return frame.sort_values("image", kind="stable", ignore_index=True), rejected


def _parse_box(row: Any, names: LabelNames, unlabelled: tuple[str, ...]) -> tuple[str, float, float, float, float]:
    finding = names.find(row.label)
    if not finding:
        raise ValueError(f"unknown finding, {given(row.label)}; it must be one of {', '.join(names.findings)}")
    if finding in unlabelled:
        raise ValueError(f"{finding}, though {UNLABELLED_NOTICE} says that the batch does not label it")
    sides = [str(side) for side in (row.x, row.y, row.w, row.h)]
    try:
        x, y, w, h = map(float, sides)
    except ValueError:
        raise ValueError(f"x, y, w, h must be numbers; given {', '.join(map(given, sides))}") from None
    if not (0 <= x < x + w <= MAX_SIDE and 0 <= y < y + h <= MAX_SIDE):
        raise ValueError(f"not a box within an image: x={x:g}, y={y:g}, w={w:g}, h={h:g}")
    return finding, x, y, w, h
