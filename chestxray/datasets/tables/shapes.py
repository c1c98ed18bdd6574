"""Recognise what kind of table a batch has by the names of its columns."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from chestxray.batch_layout import (
    BOXES,
    OLD_TABLE,
    SYNTHETIC_NOTICE,
    TABLE,
    TABLE_SUFFIXES,
    TEST_LIST,
    TRAIN_LIST,
    UNLABELLED_NOTICE,
)
from chestxray.datasets.tables.columns import ROLES, Columns
from chestxray.datasets.tables.entries import Entries, read_column_table, read_list_table, read_open_list_table
from chestxray.datasets.tables.image_files import check_inside, is_inside
from chestxray.datasets.tables.joined_tables import read_joined_tables
from chestxray.datasets.tables.label_names import LabelNames
from chestxray.datasets.tables.reader_votes import read_vote_table
from chestxray.datasets.tables.rejections import MAX_SHOWN, shown
from chestxray.datasets.tables.text_table import read_headers
from chestxray.errors import UserError


@dataclass(frozen=True)
class Shape:
    """A kind of table.

    Attributes:
        name: as people know it.
        columns: the names of those by which it is recognised.
        roles: kinds of column, of `chestxray/datasets/tables/columns.py`, that it must have too, by any name.
        read: reads one.
        findings: whether it has a column a finding.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Columns], Entries]
    roles: tuple[str, ...] = ()
    findings: bool = False

    def fits(self, columns: Columns) -> bool:
        """Return whether a table is of this kind."""
        return (
            columns.have(*self.columns)
            and all(columns.role(role) is not None for role in self.roles)
            and (not self.findings or bool(columns.findings))
        )


NIH = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "View Position")
SHAPES = (
    Shape("NIH ChestX-ray14", (*NIH, "OriginalImage[Width"), read_list_table),
    Shape("Kaggle sample", (*NIH, "OriginalImageWidth"), read_list_table),
    Shape("PadChest", ("ImageID", "PatientID", "Labels", "Projection"), read_open_list_table),
    Shape("VinDr-CXR", ("image_id", "class_name", "rad_id"), read_vote_table),
    Shape("CheXpert", ("Path", "Frontal/Lateral"), read_column_table, findings=True),
    Shape("a list of findings an image", ("Finding Labels",), read_list_table, ("image",)),
    Shape("a column a finding", (), read_column_table, ("image",), findings=True),
    Shape("MIMIC-CXR", ("dicom_id", "subject_id", "study_id", "ViewPosition"), read_joined_tables),
    Shape("a list of findings an image", (), read_list_table, ("image", "labels")),
)
"""The first that fits holds: the more particular ones stand above."""

NO_TABLES = frozenset((BOXES, TEST_LIST, TRAIN_LIST, SYNTHETIC_NOTICE, UNLABELLED_NOTICE))
MAX_TABLES = 50
MAX_BELOW = 10_000
"""Files of subfolders among which a table is looked for, to name it."""
LISTED = 5
"""Findings that a message names as examples."""
PAGE = "docs/your-data.md"
DATUM = re.compile(r"\d{4}|^[\d.,+-]+$|\.(?:png|jpe?g|dcm|tiff?)$", re.IGNORECASE)
"""What no name of a column looks like; a line with such cells may be about a patient, and is not shown."""


@dataclass(frozen=True)
class Table:
    """A table of a batch that is of a known kind.

    Attributes:
        columns: of its file.
        shape: its kind.
        others: whether the folder has more tables that can be read, which may name images that this one does not.
    """

    columns: Columns
    shape: Shape
    others: bool = False

    @property
    def path(self) -> Path:
        """Its file."""
        return self.columns.header.path

    def describe(self) -> str:
        """Say what it is read as, in one line."""
        return f"{self.shape.name} ({shown(self.path.name)})"


def find_table(root: Path, name: str | None, names: LabelNames, follow_links: bool = False) -> Table:
    """Find the table of a batch and what kind it is of.

    Args:
        root: the batch.
        name: of the table's file within it; None looks for NIH's names, then for the only one that can be read.
        names: what the labels mean.
        follow_links: whether links to files may lead out of the batch.

    Raises:
        UserError: no such file, none or several that can be read; with what was found and what could be read.
    """
    beside = candidates = _candidates(root, follow_links)
    if name:
        path = root / name
        check_inside(root, path, "the table", follow_links)
        tables, faults = _recognise_all([path], names, beside)
        others, _ = _recognise_all([other for other in candidates if not other.samefile(path)], names, beside)
        if tables:
            return replace(tables[0], others=bool(others))
        candidates = [path]
    else:
        official = [root / official for official in (TABLE, OLD_TABLE) if (root / official).is_file()]
        candidates = official[:1] or candidates
        tables, faults = _recognise_all(candidates, names, beside)
    if len(tables) == 1:
        return tables[0]
    raise (faults[0] if faults and not tables else _refusal(root, candidates, tables, names))


def _refusal(root: Path, paths: list[Path], tables: list[Table], names: LabelNames) -> UserError:
    """Say why none of the files is the table of a batch: there are several, or none."""
    if tables:
        listed = ", ".join(table.describe() for table in tables)
        return UserError(f"several tables in {root}: {listed}. Say which: batches.<name>.table, or --table")
    if paths:
        found = "; ".join(f"{shown(path.name)} {_wrong_header(path, names)}" for path in paths[:3])
        kinds = ", ".join({shape.name: shape.name for shape in SHAPES})
        return UserError(f"wrong header in {root}: {found}. Kinds of tables that are read: {kinds}; see {PAGE}")
    below = [path.parent for path in sorted(root.glob("*/*"))[:MAX_BELOW] if path.suffix.lower() in TABLE_SUFFIXES]
    if below:
        return UserError(f"no table in {root} itself, but in {shown(str(below[0]))}: give that folder")
    return UserError(
        f"no table in {root}: expected {TABLE}, or another {', '.join(TABLE_SUFFIXES)} file that names the images. "
        f"Put the table of the images there; save a workbook as CSV (UTF-8). See {PAGE}"
    )


def _wrong_header(path: Path, names: LabelNames) -> str:
    """Say what the first line of a file lacks to be that of a table."""
    header = read_headers(path)[0]
    columns = Columns(header, names)
    if any(DATUM.search(name) for name in header.names):
        return "has no names of columns in its first line, which looks like one about an image: add a line above it"
    lacks = []
    if columns.role("image") is None:
        lacks.append(f"no column of images, called {', '.join(ROLES['image'][:6])} or the like")
    if columns.role("labels") is None and not columns.findings:
        lacks.append(
            f"no column of findings: one of lists, called {ROLES['labels'][0]}, or one for each finding, called by its "
            f"name ({', '.join(names.findings[:LISTED])}…)"
        )
    text = ", ".join(header.names)
    given = ascii(text[:MAX_SHOWN]) + ("…" if len(text) > MAX_SHOWN else "")
    return f"has {' and '.join(lacks) or 'not all columns of a kind that is known'}; given are {given}"


def _candidates(root: Path, follow_links: bool) -> list[Path]:
    """Return all files that may be the table."""
    files = [path for path in root.iterdir() if path.suffix.lower() in TABLE_SUFFIXES and path.name not in NO_TABLES]
    files = [path for path in files if not path.name.startswith(".") and path.is_file()]
    files = [path for path in files if is_inside(root, path, follow_links)]
    return sorted(files)[:MAX_TABLES]


def _recognise_all(paths: list[Path], names: LabelNames, beside: list[Path]) -> tuple[list[Table], list[UserError]]:
    """Return the files that are tables of a known kind, and why others could not be read at all."""
    tables: list[Table] = []
    faults: list[UserError] = []
    for path in paths:
        try:
            tables += filter(None, [_recognise(path, names, beside)])
        except UserError as error:
            faults.append(error)
    return tables, faults


def _recognise(path: Path, names: LabelNames, beside: list[Path]) -> Table | None:
    for header in read_headers(path):
        columns = Columns(header, names, tuple(beside))
        for shape in SHAPES:
            if shape.fits(columns):
                return Table(columns, shape)
    return None
