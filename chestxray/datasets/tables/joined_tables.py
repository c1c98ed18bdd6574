"""Read MIMIC-CXR's tables, joined by subject and study (Johnson et al., "MIMIC-CXR-JPG", 2019).

The metadata name the images and their views, a second table the findings of each study: that of CheXpert's labeller, or
of NegBio where that one is not there. The table of the official split is passed over: patients are split by the hash.
"""

import numpy as np
import pandas as pd

from chestxray.datasets.tables.answers import BLANK
from chestxray.datasets.tables.columns import Columns
from chestxray.datasets.tables.entries import Entries, answer_columns, listed, note_unused, read_named_columns
from chestxray.datasets.tables.image_files import is_inside
from chestxray.datasets.tables.patients import canonical_patient
from chestxray.datasets.tables.text_table import read_headers
from chestxray.errors import UserError

KEYS = {"patient": "subject_id", "study": "study_id"}
PREFERRED = "chexpert"
"""In the name of the table of findings that goes before others."""


def read_joined_tables(columns: Columns) -> Entries:
    """Read the metadata, and the findings of each image's study from the table beside them.

    Raises:
        UserError: there is no table with `subject_id`, `study_id` and a column a finding.
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
    missing = place < 0
    file = findings.header.path.name
    reasons = np.where(missing, f"no labels: {file} has no row of this study, or two", faults[known][place])
    joined = np.where(missing[:, None], BLANK, answers[known][place]).astype(np.uint8)
    used = [*_places(findings, KEYS).values()]
    notes = [f"findings of {file}"] + ([f"tables passed over: {listed(passed)}"] if passed else [])
    if others := findings.others(*used):
        notes.append(f"columns passed over: {listed(others)}; labels can say that one is a finding")
    notes += note_unused(findings, set(findings.header.names))
    return Entries(rows.drop(columns="study"), joined, reasons, [*malformed, *malformed_studies], notes)


def _find_findings(columns: Columns) -> tuple[Columns, list[str]]:
    """Return the table of findings beside the metadata, and the names of others that there are."""
    path = columns.header.path
    found: list[Columns] = []
    for other in sorted(path.parent.glob("*.csv")):
        if other != path and other.is_file() and is_inside(path.parent, other):
            candidates = [Columns(header, columns.names) for header in read_headers(other)]
            found += [each for each in candidates if each.have(*KEYS.values()) and each.findings][:1]
    if not found:
        raise UserError(
            f"no table of findings beside {path}: put mimic-cxr-2.0.0-chexpert.csv there, with the columns "
            f"{', '.join(KEYS.values())} and one a finding"
        )
    found.sort(key=lambda each: (PREFERRED not in each.header.path.name.casefold(), each.header.path.name))
    return found[0], [each.header.path.name for each in found[1:]]


def _places(columns: Columns, wanted: dict[str, str]) -> dict[str, int]:
    places = {name: columns.place(column) for name, column in wanted.items()}
    return {name: place for name, place in places.items() if place is not None}


def _keys(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return subject and study of each row as one text, each in one spelling."""
    parts = [rows[name].map({text: canonical_patient(text) for text in rows[name].unique()}) for name in KEYS]
    return parts[0] + "/" + parts[1]
