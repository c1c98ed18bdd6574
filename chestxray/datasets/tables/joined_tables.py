"""Read MIMIC-CXR's tables, joined by subject and study (Johnson et al., "MIMIC-CXR-JPG", 2019).

The metadata name the images and their views, a second table the findings of each study: that of CheXpert's labeller, or
of NegBio where that one is not there. The table of the official split is passed over: patients are split by the hash.
"""

import re

import numpy as np
import pandas as pd

from chestxray.datasets.tables.answers import BLANK
from chestxray.datasets.tables.columns import Columns
from chestxray.datasets.tables.entries import Entries, answer_columns, listed, note_unused, read_named_columns
from chestxray.datasets.tables.patients import canonical_patient
from chestxray.datasets.tables.text_table import read_headers
from chestxray.errors import UserError

KEYS = {"patient": "subject_id", "study": "study_id"}
OFFICIAL = re.compile(r"mimic-cxr-[\d.]+-chexpert\.csv")
"""The table of findings that goes before others; after it go those with `LABELLER` in their name."""
LABELLER = "chexpert"


def read_joined_tables(columns: Columns) -> Entries:
    """Read the metadata, and the findings of each image's study from the table beside them.

    Raises:
        UserError: there is no table with `subject_id`, `study_id` and a column a finding, or it is not clear which.
    """
    findings, passed = _find_findings(columns)
    images = {"image": "dicom_id", "view": "ViewPosition", **KEYS}
    rows, malformed = read_named_columns(columns, _places(columns, images))
    places = _places(findings, KEYS) | {place: int(place) for place in findings.answers}
    studies, malformed_studies = read_named_columns(findings, places)
    answers, faults = answer_columns(findings, studies)
    keys = _keys(studies)
    known = ~keys.duplicated(keep=False)
    place = pd.Index(keys[known]).get_indexer(pd.Index(_keys(rows)))
    file = findings.header.path.name
    # The last row, which −1 finds, is that of a study without labels.
    faults = np.append(faults[known], f"no labels: {file} has no row of this study, or two")
    answers = np.vstack([answers[known], np.full_like(answers, BLANK, shape=(1, answers.shape[1]))])
    used = [*_places(findings, KEYS).values()]
    notes = [f"findings of {file}"] + ([f"tables passed over: {listed(passed)}"] if passed else [])
    if others := findings.others(*used):
        notes.append(f"columns passed over: {listed(others)}; labels can say that one is a finding")
    notes += note_unused(findings, set(findings.header.names))
    return Entries(rows.drop(columns="study"), answers[place], faults[place], [*malformed, *malformed_studies], notes)


def _find_findings(columns: Columns) -> tuple[Columns, list[str]]:
    """Return the table of findings beside the metadata, and the names of others that there are."""
    path = columns.header.path
    found: list[Columns] = []
    for other in columns.beside:
        if other.suffix.lower() == ".csv" and other != path:
            candidates = [Columns(header, columns.names) for header in read_headers(other)]
            found += [each for each in candidates if each.have(*KEYS.values()) and each.findings][:1]
    if not found:
        raise UserError(
            f"no table of findings beside {path}: put mimic-cxr-2.0.0-chexpert.csv there, with the columns "
            f"{', '.join(KEYS.values())} and one a finding"
        )
    found.sort(key=_rank)
    best = [each.header.path.name for each in found if _rank(each) == _rank(found[0])]
    if len(best) > 1:
        raise UserError(f"several tables of findings beside {path}: {listed(best)}; leave one of them there")
    return found[0], [each.header.path.name for each in found[1:]]


def _rank(columns: Columns) -> int:
    """Return what place a table of findings has before others: 0 to 2, the first goes before."""
    name = columns.header.path.name.casefold()
    return 0 if OFFICIAL.fullmatch(name) else 1 if LABELLER in name else 2


def _places(columns: Columns, wanted: dict[str, str]) -> dict[str, int]:
    places = {name: columns.place(column) for name, column in wanted.items()}
    return {name: place for name, place in places.items() if place is not None}


def _keys(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return subject and study of each row as one text, each in one spelling."""
    spelled = {text: canonical_patient(text) for name in KEYS for text in rows[name].unique()}
    keys = [
        f"{spelled[patient]}/{spelled[study]}" for patient, study in zip(rows["patient"], rows["study"], strict=True)
    ]
    return pd.Series(keys, rows.index, dtype=object)
