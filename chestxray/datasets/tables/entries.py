"""Read what a table says of each image: who it is of, and what is present, absent or uncertain."""

import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from chestxray.datasets.tables.answers import (
    ABSENT,
    BLANK,
    PRESENT,
    Answers,
    Faults,
    ListAnswers,
    read_column,
    read_lists,
)
from chestxray.datasets.tables.columns import Columns
from chestxray.datasets.tables.rejections import Rejection, shown
from chestxray.datasets.tables.text_table import read_columns
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, NO_FINDING

PLANE = "Frontal/Lateral"
"""CheXpert's column for what is said of the direction in AP/PA for frontal images alone."""
ABOUT = ("patient", "age", "sex", "view")
"""Columns that a table may have about an image, besides its name and findings."""
LISTED = 10
"""How many labels or columns a note or an error names."""


@dataclass(frozen=True)
class Entries:
    """What a table says, an image a row, before anything is looked up.

    Attributes:
        rows: N of them as text: `image` as the table calls it, `where` (file and row), and those of `patient`, `age`,
            `sex` and `view` that the table has.
        answers: `(N, findings)`.
        faults: `(N,)` why the answers of a row can't be used, empty where they can.
        malformed: rows with a wrong number of fields.
        notes: what a person should know of how the table was read.
        boxes: those that the table itself holds: `image`, `label`, `x`, `y`, `w`, `h`, `where`.
    """

    rows: pd.DataFrame
    answers: Answers
    faults: Faults
    malformed: list[Rejection]
    notes: list[str]
    boxes: pd.DataFrame | None = field(default=None)


def read_list_table(columns: Columns) -> Entries:
    """Read a table of NIH's kind: findings of each image as a list, all that is not in it is absent.

    A finding that none of NIH's 14 means is unknown unless the table names it somewhere. A label that nobody knows
    stops the reading: the lists are said to be complete, so it may be a finding in another spelling. One of NIH's that
    is not asked for is passed over and counted.

    Raises:
        UserError: labels that nobody knows, with their counts and how to say what they mean.
    """
    rows, malformed = _read_rows(columns, "labels")
    lists = read_lists(rows.pop("labels"), columns.names, exclusive=True)
    elsewhere = columns.names.is_finding_elsewhere
    unknown = Counter({label: count for label, count in lists.unknown.items() if not elsewhere(label)})
    if unknown:
        raise _unknown_labels(columns, unknown)
    complete = frozenset(filter(None, map(columns.names.find, FINDINGS)))  # without those that are not asked for
    return _complete(columns, rows, lists, complete, malformed)


def read_open_list_table(columns: Columns) -> Entries:
    """Read a table whose lists have a larger vocabulary than ours, such as PadChest's 174 findings.

    Labels that are no findings of ours are passed over and counted. A finding that the table never names is unknown:
    its authors may not have looked for it.
    """
    rows, malformed = _read_rows(columns, "labels")
    # "normal" stands beside findings there, of another part of the report
    lists = read_lists(rows.pop("labels"), columns.names, exclusive=False)
    return _complete(columns, rows, lists, frozenset(), malformed)


def read_column_table(columns: Columns) -> Entries:
    """Read a table with a column a finding; what has no column is unknown."""
    rows, malformed = _read_rows(columns, *columns.answers)
    answers, faults = answer_columns(columns, rows)
    used = [*columns.roles("image", *ABOUT).values(), columns.place(PLANE)]
    notes = note_unused(columns, set(columns.header.names))
    if others := columns.others(*used):
        notes.append(f"columns passed over: {listed(others)}; labels can say that one is a finding")
    return Entries(rows, answers, faults, malformed, notes)


def answer_columns(columns: Columns, rows: pd.DataFrame) -> tuple[Answers, Faults]:
    """Take the columns of findings, called by their position, out of `rows` and read them.

    Of two columns of one finding the stronger answer holds: present, uncertain, absent, blank. Where there is
    `No Finding`, those of the columns that are blank are absent.
    """
    order = columns.names.findings
    answers = np.full((len(rows), len(order)), BLANK, np.uint8)
    faults = np.full(len(rows), "", dtype=object)
    for place, finding in columns.findings.items():
        read, reasons = read_column(rows.pop(str(place)), finding)
        column = order.index(finding)
        answers[:, column] = np.maximum(answers[:, column], read)
        faults = np.where(faults == "", reasons, faults)
    if (nothing := columns.no_finding) is None:
        return answers, faults
    read, reasons = read_column(rows.pop(str(nothing)), NO_FINDING)
    normal = read == PRESENT
    asked = np.isin(order, list(columns.findings.values()))
    contradicted = normal & (answers == PRESENT).any(axis=1)
    answers[normal[:, None] & asked & (answers == BLANK)] = ABSENT
    reasons = np.where(contradicted, f"contradiction: {NO_FINDING} beside a finding; leave one of them", reasons)
    return answers, np.where(faults == "", reasons, faults)


def read_named_columns(columns: Columns, places: dict[str, int]) -> tuple[pd.DataFrame, list[Rejection]]:
    """Read columns, and `where` each row stands; rows with a wrong number of fields are rejected."""
    rows, malformed = read_columns(columns.header, places)
    name = columns.header.path.name
    rows["where"] = pd.Series([f"{name} row {number}" for number in rows.index], rows.index, dtype=object)
    width = len(columns.header.names)
    image = places.get("image", 0)
    rejected = [
        Rejection(
            row.fields[image].strip() if image < len(row.fields) else "",
            f"{name} row {row.number}",
            f"malformed row: {len(row.fields)} fields, expected {width}; quote a field that holds the separator",
        )
        for row in malformed
    ]
    return rows.reset_index(drop=True), rejected


def listed(names: list[str]) -> str:
    """List names from outside, some of them."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(shown, names[:LISTED])) + more


def counted(labels: Counter[str]) -> str:
    """List labels from outside with the number of rows of each, the most frequent of them."""
    more = f" and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    return ", ".join(f"{label!a} ({count})" for label, count in labels.most_common(LISTED)) + more


def _read_rows(columns: Columns, *wanted: str) -> tuple[pd.DataFrame, list[Rejection]]:
    """Read image, labels or columns of findings (by position), and what there is about the image."""
    places = columns.roles("image", *ABOUT)
    for name in wanted:
        place = columns.role(name) if name == "labels" else int(name)
        if place is not None:
            places[name] = place
    plane = columns.place(PLANE)
    if plane is None:
        return read_named_columns(columns, places)
    rows, malformed = read_named_columns(columns, places | {"plane": plane})
    planes = rows.pop("plane")
    frontal = planes.str.casefold() == "frontal"
    rows["view"] = planes.where(~frontal, rows["view"]) if "view" in rows else planes
    return rows, malformed


def _complete(
    columns: Columns, rows: pd.DataFrame, lists: ListAnswers, known: frozenset[str], malformed: list[Rejection]
) -> Entries:
    """Make unknown what the table's authors may not have looked for."""
    named = {columns.names.find(label) for label in lists.named}
    for column, finding in enumerate(columns.names.findings):
        if finding not in known and finding not in named:
            lists.answers[:, column] = BLANK
    notes = note_unused(columns, set(lists.named))
    if lists.unknown:
        notes.append(f"labels passed over: {counted(lists.unknown)}; labels can say what one means")
    blank = int(((lists.answers == BLANK).all(axis=1) & (lists.faults == "")).sum())
    if blank:
        notes.append(f"labels: {blank} of {len(rows)} images have none; all their findings are unknown")
    return Entries(rows, lists.answers, lists.faults, malformed, notes)


def note_unused(columns: Columns, labels: set[str]) -> list[str]:
    """Note what a person said of labels that the table does not have."""
    unused = columns.names.unused(labels)
    said = "batches.<name>.labels (--labels) names what the table does not"
    return [f"{said}: {listed(unused)}"] if unused else []


def _unknown_labels(columns: Columns, unknown: Counter[str]) -> UserError:
    entry = ", ".join(f"{json.dumps(label)}: null" for label, _ in unknown.most_common(LISTED))
    return UserError(
        f"{columns.header.path}: {len(unknown)} labels are none of the findings, by rows: {counted(unknown)}. Say what "
        f"they mean: in params.yaml batches.<name>.labels: {{{entry}}} with a finding "
        f"({', '.join(columns.names.findings)}) in place of null, or null for none; or --labels LABEL=FINDING for each"
    )
