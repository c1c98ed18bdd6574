"""One person has one id, however it is spelled; two people never share one without a word."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chestxray.datasets.tables.patients import canonical_patient, read_patients
from chestxray.errors import UserError
from tests.chestxray.datasets.tables.small_tables import read, text, write

IDS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20)


def column(*cells: str) -> "pd.Series[str]":
    return pd.Series(cells, dtype=object)


@given(st.integers(0, 10**12), st.integers(0, 6), st.sampled_from(["", ".", ".0", ".00"]), st.sampled_from(["", " "]))
def test_spellings_of_a_number_are_one_patient(number: int, zeros: int, end: str, space: str) -> None:
    assert canonical_patient(f"{space}{'0' * zeros}{number}{end}{space}") == str(number)


@given(st.lists(st.integers(0, 10**6), min_size=2, unique=True))
def test_different_numbers_stay_different(numbers: list[int]) -> None:
    assert len({canonical_patient(f"{number}.0") for number in numbers}) == len(numbers)


@given(IDS)
def test_the_one_spelling_is_stable(patient: str) -> None:
    once = canonical_patient(patient)
    assert canonical_patient(once) == once == canonical_patient(f" {patient} ")


@pytest.mark.parametrize(
    ("one", "other"), [("13", "13.5"), ("p13", "p013"), ("1.30", "13"), ("13", "-13"), ("a-1", "a 1")]
)
def test_what_may_be_two_people_is_not_made_one(one: str, other: str) -> None:
    assert canonical_patient(one) != canonical_patient(other)


def test_ids_that_differ_in_case_alone_are_one_and_it_is_said() -> None:
    patients, reasons, notes = read_patients(column("P1", "p1", "P2", "3", "3.0"), "")
    assert patients.tolist() == ["p1", "p1", "p2", "3", "3"] and set(reasons) == {""}
    assert notes == ["patients: 1 ids are spelled in several ways and count as one each"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jos\u00e9", "Jose\u0301"), ("\u00c9va 1", "E\u0301VA 1"), ("A 1", "A  1"), ("A 1", "A\u00a01"),
        ("13", "\uff11\uff13"), ("P13", "\uff30\uff11\uff13"), ("013", "\uff10\uff11\uff13.0"),
    ],
)  # fmt: skip
def test_how_unicode_writes_an_id_makes_no_difference(one: str, other: str) -> None:
    patients, reasons, _ = read_patients(column(one, other), "")
    assert patients[0] == patients[1] and set(reasons) == {""}


def test_a_prefix_keeps_hospitals_apart() -> None:
    assert read_patients(column("013", "13.0"), "hospitalA-")[0].tolist() == ["hospitalA-13", "hospitalA-13"]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("", "no patient id"), ("nan", "no patient id"), ("1.23457E+11", "rounded patient id"),
        ("1,2E+11", "rounded patient id"), ("../etc", "unreadable patient id"), ("=1+1", "unreadable patient id"),
        ("a\x00b", "unreadable patient id"), ("x" * 65, "unreadable patient id"),
        ("1.000", "doubtful patient id"), ("1.234", "doubtful patient id"), ("12.345.678", "doubtful patient id"),
    ],
)  # fmt: skip
def test_what_is_no_id_is_rejected(cell: str, kind: str) -> None:
    [reason] = read_patients(column(cell), "")[1]
    assert reason.partition(":")[0] == kind and len(reason) < 200


def test_a_table_without_patients_is_refused_and_told_the_mend(tmp_path: Path) -> None:
    images = ("00000001_000.png", "00000001_001.png")  # names as NIH's, which hold the patient; others' need not
    rows = [(image, "Mass") for image in images]
    root = write(tmp_path, "t.csv", text(["Image Index", "Finding Labels"], rows), images)
    with pytest.raises(UserError, match=r"t\.csv has no column of patients.*Patient ID.*patients: image"):
        read(root)
    with pytest.raises(UserError, match="no column of patients"):
        read(root, patients="hospital-")
    batch = read(root, patients="image")
    assert batch.studies["patient"].tolist() == list(images) and batch.patients_by == "image"
    assert any("each image counts as a patient's only one" in note for note in batch.notes)
