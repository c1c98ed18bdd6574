"""The labels of a phantom are signs: a finding has the label of the one that draws it, or none."""

from pathlib import Path

from chestxray.batch_layout import BOXES, SYNTHETIC_NOTICE
from chestxray.findings import SYNONYMS, Vocabulary
from tests.chestxray.datasets.empty_batch import BOX_HEADER
from tests.chestxray.datasets.tables.small_tables import labels, read, text, write

OWN = Vocabulary(
    {"Veil": ("fog",), "Tuberculosis": ("TB",), "Mass": SYNONYMS["Mass"], "Effusion": SYNONYMS["Effusion"]},
    {"Infiltration": "Veil", "Effusion": "Effusion"},
)
"""Veil is drawn by Infiltration; Mass and Tuberculosis have no sign."""
ROWS = [("a.png", "Infiltration|Mass", "1"), ("b.png", "No Finding", "2"), ("c.png", "Hernia", "3")]


def phantoms(root: Path, rows: list[tuple[str, str, str]]) -> Path:
    batch = write(root, "t.csv", text(["image", "labels", "patient"], rows), [row[0] for row in rows])
    (batch / SYNTHETIC_NOTICE).touch()
    (batch / BOXES).write_text(f"{BOX_HEADER}\na.png,Infiltrate,1,1,5,5,,,\na.png,Mass,1,1,5,5,,,\n")
    return batch


def test_a_finding_has_the_label_of_its_sign_and_without_one_it_has_none(tmp_path: Path) -> None:
    batch = read(phantoms(tmp_path, ROWS), OWN)
    assert labels(batch, "Veil") == {"a.png": 1, "b.png": 0, "c.png": 0}
    assert set(labels(batch, "Effusion").values()) == {0}
    assert set(labels(batch, "Tuberculosis").values()) == set(labels(batch, "Mass").values()) == {-1}
    assert batch.boxes["finding"].tolist() == ["Veil"] and batch.rejected.empty
    assert not [note for note in batch.notes if "labels" in note]


def test_what_a_person_says_of_a_phantoms_labels_goes_before(tmp_path: Path) -> None:
    batch = read(phantoms(tmp_path, ROWS), OWN, labels={"Hernia": "Tuberculosis"})
    assert labels(batch, "Tuberculosis") == {"a.png": 0, "b.png": 0, "c.png": 1}


def test_the_names_of_radiographs_labels_are_no_signs(tmp_path: Path) -> None:
    root = phantoms(tmp_path, ROWS)
    (root / SYNTHETIC_NOTICE).unlink()
    batch = read(root, OWN)
    assert labels(batch, "Mass") == {"a.png": 1, "b.png": 0, "c.png": 0}
    assert set(labels(batch, "Veil").values()) == {-1}


def test_a_finding_of_nihs_under_another_name_is_absent_where_a_complete_list_does_not_name_it(tmp_path: Path) -> None:
    own = Vocabulary({"Fluid": ("Effusion",), "Mass": ()})
    rows = [("a.png", "Mass", "1"), ("b.png", "No Finding", "2")]
    root = write(tmp_path, "t.csv", text(["image", "labels", "patient"], rows), ["a.png", "b.png"])
    assert set(labels(read(root, own), "Fluid").values()) == {0}
    passed = read(root, own, labels={"Effusion": None})  # who passes a label over does not say that it is absent
    assert set(labels(passed, "Fluid").values()) == {-1}
