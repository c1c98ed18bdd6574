"""Look up the image of each row of a table, type what it says about it, and find what can't be used."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.tables.columns import ROLES
from chestxray.datasets.tables.demographics import FRONTAL, read_demographics
from chestxray.datasets.tables.image_files import ImageFiles, stem
from chestxray.datasets.tables.path_ends import key
from chestxray.datasets.tables.patients import read_patients
from chestxray.datasets.tables.rejections import NOT_FRONTAL, Rejection, shown
from chestxray.errors import UserError
from chestxray.params import Views

IMAGE_IS_PATIENT = "image"
"""What `batches.<name>.patients` says where each image counts as a patient's only one."""
NO_TABLE_ROW = "file without table row: add its row, or list it in the file that exclude names"
"""Why an image that no row names is rejected."""
PATIENT_IN_PATH = re.compile(r"(?:.*/)?(patient\d+)/.*", re.IGNORECASE | re.ASCII | re.DOTALL)
"""CheXpert's paths name the patient: `train/patient00001/study1/view1_frontal.jpg`."""


def type_rows(
    rows: pd.DataFrame, files: ImageFiles, patients: str | None, table: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Look up the images and read patients, ages, sexes and views.

    Args:
        rows: as `Entries.rows`.
        files: of the batch.
        patients: prefix of the ids, `image`, or None.
        table: for the messages.

    Returns:
        `name` (as the table calls the image), `where`, `path` (empty where there is none), `image` (a short unique name
        of the path), `patient`, `age`, `sex`, `view`, `image_fault` and `patient_fault` (reasons, or empty); and notes.

    Raises:
        UserError: the table has no patients.
    """
    names = rows["image"].tolist()
    paths, faults = zip(*map(files.find, names), strict=True) if names else ((), ())
    short = short_names(paths)
    images = [short.get(path, name) for path, name in zip(paths, names, strict=True)]
    found = {"name": names, "where": rows["where"].tolist(), "path": paths, "image_fault": faults, "image": images}
    typed = pd.DataFrame(found, index=rows.index, dtype=object)
    if patients == IMAGE_IS_PATIENT:
        typed["patient"] = typed["image"]
        typed["patient_fault"] = ""
        notes = ["patients: each image counts as a patient's only one, as batches.<name>.patients (--patients) says"]
    else:
        ids = _patient_cells(rows, table)
        typed["patient"], typed["patient_fault"], notes = read_patients(ids, patients or "")
    demographics, more = read_demographics(rows)
    return pd.concat([typed, demographics], axis=1), notes + more


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return the name of each file, or its path for all of them where two files have one name."""
    distinct = set(paths) - {""}
    names = {path: path.rpartition("/")[2] for path in distinct}
    return names if len(set(names.values())) == len(distinct) else {path: path for path in distinct}


def _patient_cells(rows: pd.DataFrame, table: Path) -> "pd.Series[str]":
    """Return the patient ids as the table has them, in a column or in its paths."""
    if "patient" in rows:
        return rows["patient"]
    in_path = rows["image"].str.replace("\\", "/").str.extract(PATIENT_IN_PATH, expand=False)
    if len(rows) and in_path.notna().all():
        return in_path
    raise UserError(
        f"{table} has no column of patients, and images of one person must not stand in training and test: add one, "
        f"called {' or '.join(ROLES['patient'][:2])}; or, if every image is of another person, say "
        "batches.<name>.patients: image (--patients image)"
    )


def first_faults(rows: pd.DataFrame, label_faults: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Return the first fault of each row, empty where there is none.

    Args:
        rows: as `type_rows` returns them, with `left_out`.
        label_faults: reasons why the labels of a row can't be used.
    """
    patient_faults = rows["patient_fault"].to_numpy(object)
    faults = [_duplicate_faults(rows), patient_faults, label_faults, rows["image_fault"].to_numpy(object)]
    return np.select([column != "" for column in faults], faults, default="")


def _duplicate_faults(rows: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Reject a row whose image an earlier one has; all of them if they call it by different names."""
    faults = pd.Series("", index=rows.index, dtype=object)
    wanted = rows[(rows["path"] != "") & (rows["left_out"] == "")]
    again = wanted[wanted["path"].duplicated(keep=False)]
    first = again.groupby("path")["where"].transform("first")
    several = again["name"].map(key).groupby(again["path"]).transform("nunique") > 1
    later = again["path"].duplicated() & ~several
    faults[again.index[several]] = (
        "image of two names: " + first[several] + " and another row mean this file; give its path"
    )
    faults[again.index[later]] = "duplicate row: " + first[later] + " has this image; take one out"
    return faults.to_numpy(object)


@dataclass(frozen=True)
class NamedRows:
    """Rows as `type_rows` returns them, by the names that a list may call their images.

    Attributes:
        rows: the rows.
        files: of the batch.
    """

    rows: pd.DataFrame
    files: ImageFiles

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        return self._places([key(name) for name in self.rows["name"].tolist()])

    @cached_property
    def _by_path(self) -> dict[str, list[int]]:
        return self._places(self.rows["path"].tolist())

    @staticmethod
    def _places(texts: list[str]) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(text, []).append(place)
        return places

    def match(self, name: str) -> list[int]:
        """Return the positions of the rows that have a name, else of those of the file that it names."""
        places = self._by_name.get(key(name))
        if places is None:
            path, _ = self.files.find(name)
            places = self._by_path.get(path, []) if path else []
        return places


def left_out(
    rows: pd.DataFrame, named: "NamedRows", excluded: Iterable[str], views: Views
) -> tuple["pd.Series[str]", list[str]]:
    """Say which rows are left out though nothing is wrong with them.

    Args:
        rows: as `type_rows` returns them.
        named: the same by name.
        excluded: names of images.
        views: which are wanted.

    Returns:
        A reason for each, empty for those that are kept; and notes on names that name nothing.
    """
    reasons = pd.Series("", index=rows.index, dtype=object)
    if views == "frontal":
        other = rows["view"].notna() & ~rows["view"].isin(FRONTAL)
        reasons[other] = f"{NOT_FRONTAL}: " + rows.loc[other, "view"].astype(object)
    meant = {name: named.match(name) for name in excluded}
    reasons[list({place for places in meant.values() for place in places})] = "excluded"
    nothing = [name for name, places in meant.items() if not places and not named.files.find(name)[0]]
    notes = [f"exclude: {len(nothing)} lines name no image, such as {shown(nothing[0])}"] if nothing else []
    return reasons, notes


def strays(
    rows: pd.DataFrame, malformed: Iterable[Rejection], files: ImageFiles, excluded: Iterable[str]
) -> tuple[list[Rejection], tuple[str, ...]]:
    """Return the image files that no row names, and the paths of those that may be images only by what they hold."""
    named = set(rows["path"]) | {files.find(name)[0] for name in excluded}
    lost = [*rows.loc[rows["path"] == "", "name"], *(row.image for row in malformed), *excluded]
    unfound = {key(re.split(r"[/\\]", name)[-1]) for name in lost}

    def is_mentioned(path: str) -> bool:
        name = path.rpartition("/")[2]
        return path in named or bool({key(name), key(stem(name))} & unfound)

    unnamed = [path for path in files.paths if not is_mentioned(path)]
    short = short_names(files.images)
    images = [Rejection(short[path], path, NO_TABLE_ROW) for path in unnamed if path in short]
    images += [
        Rejection(path.rpartition("/")[2], shown(path), fault)
        for path, fault in files.unusable.items()
        if not is_mentioned(path)
    ]
    return images, tuple(path for path in unnamed if path not in short)
