"""Read VinDr-CXR's table: a row a box and reader (Nguyen et al., "VinDr-CXR", Scientific Data 2022)."""

from collections import Counter

import numpy as np
import pandas as pd

from chestxray.datasets.tables.answers import ABSENT, BLANK, PRESENT, UNCERTAIN, Answers, Faults
from chestxray.datasets.tables.columns import Columns
from chestxray.datasets.tables.entries import ABOUT, Entries, counted, note_unused, read_named_columns
from chestxray.datasets.tables.path_ends import key
from chestxray.datasets.tables.rejections import Rejection

READERS = 2
"""A finding is present if so many readers say so; one alone leaves it uncertain."""
CORNERS = {"x": "x_min", "y": "y_min", "x_max": "x_max", "y_max": "y_max"}


def read_vote_table(columns: Columns) -> Entries:
    """Read a table with a row a box and reader.

    An image of which a row is malformed, or that is spelled in several ways, is a fault: a vote of it would be lost. A
    finding is absent where no reader saw it, and unknown if none saw it anywhere: the readers may not have looked for
    it. Labels that are no findings of ours are passed over and counted.
    """
    places = {
        name: place
        for name, column in {"label": "class_name", "reader": "rad_id", **CORNERS}.items()
        if (place := columns.place(column)) is not None
    }
    rows, malformed = read_named_columns(columns, columns.roles("image", *ABOUT) | places)
    meaning = {label: columns.names.find(label) for label in rows["label"].unique()}
    rows["finding"] = rows["label"].map(meaning)
    rows["reader"] = rows["reader"].map(key)
    unknown = rows.loc[rows["finding"].isna(), "label"]
    unknown = unknown[[not columns.names.is_no_finding(label) for label in unknown]]
    images = rows.drop_duplicates("image", ignore_index=True)
    notes = [
        f"{len(rows)} rows of {len(images)} images; {READERS} readers make a finding present, one leaves it uncertain",
        *note_unused(columns, set(meaning)),
    ]
    if len(unknown):
        notes.append(f"labels passed over: {counted(Counter(unknown))}; labels can say what one means")
    answers = _count_votes(rows, images["image"], columns.names.findings)
    faults = _lost_votes(images["image"], malformed)
    about = [name for name in ABOUT if name in images]
    boxes = _boxes(rows, answers, images["image"], columns.names.findings)
    return Entries(images[["image", "where", *about]], answers, faults, malformed, notes, boxes)


def _lost_votes(images: "pd.Series[str]", malformed: list[Rejection]) -> Faults:
    """Return why the votes of each image are not all counted, empty where they are."""
    keys = images.map(key)
    where = {key(row.image): row.where for row in reversed(malformed)}
    lost = [
        f"votes lost: {where[name]} is of this image too and malformed; mend it" if name in where else ""
        for name in keys
    ]
    several = "votes of several spellings: other rows write this image's name in another way; write it in one"
    return np.where(keys.duplicated(keep=False), several, np.array(lost, dtype=object))


def _count_votes(rows: pd.DataFrame, images: "pd.Series[str]", findings: tuple[str, ...]) -> Answers:
    """Return the answers of an image a row."""
    answers = np.full((len(images), len(findings)), ABSENT, np.uint8)
    votes = rows[rows["finding"].isin(findings)].drop_duplicates(["image", "finding", "reader"])
    counts = votes.groupby(["image", "finding"], sort=False).size().reset_index(name="readers")
    place = pd.Index(images).get_indexer(pd.Index(counts["image"]))
    column = pd.Index(findings).get_indexer(pd.Index(counts["finding"]))
    answers[place, column] = np.where(counts["readers"] >= READERS, PRESENT, UNCERTAIN)
    answers[:, ~np.isin(findings, counts["finding"].to_numpy(str))] = BLANK
    return answers


def _boxes(
    rows: pd.DataFrame, answers: Answers, images: "pd.Series[str]", findings: tuple[str, ...]
) -> pd.DataFrame | None:
    """Return the boxes of findings that are present, as text."""
    if not all(name in rows for name in CORNERS):
        return None
    boxed = rows[rows["finding"].isin(findings) & (rows[list(CORNERS)] != "").all(axis=1)]
    place = pd.Index(images).get_indexer(pd.Index(boxed["image"]))
    column = pd.Index(findings).get_indexer(pd.Index(boxed["finding"]))
    boxed = boxed[answers[place, column] == PRESENT]
    corners = boxed[list(CORNERS)].apply(pd.to_numeric, errors="coerce")
    return pd.DataFrame(
        {
            "image": boxed["image"], "label": boxed["label"], "where": boxed["where"],
            "x": corners["x"], "y": corners["y"],
            "w": corners["x_max"] - corners["x"], "h": corners["y_max"] - corners["y"],
        }
    )  # fmt: skip
