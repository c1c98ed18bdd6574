"""Each shape of table is recognised and read for what it says; what it does not say is unknown."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chestxray.batch_layout import BOXES, HEADER, TABLE, UNLABELLED_NOTICE
from chestxray.datasets.batch import Batch
from chestxray.datasets.tables.answers import split_labels
from chestxray.datasets.tables.label_names import LabelNames
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, SYNONYMS, Vocabulary
from tests.chestxray.datasets.empty_batch import BOX_HEADER, row
from tests.chestxray.datasets.tables.small_tables import Rows, labels, read, text, write

IMAGES = ("a.png", "b.png", "c.png")
OWN = Vocabulary({"Tuberculosis": ("TB",), "Effusion": SYNONYMS["Effusion"]})


def unknown(batch: Batch, finding: str) -> bool:
    return set(labels(batch, finding).values()) == {-1}


def test_kaggles_sample(tmp_path: Path) -> None:
    header = HEADER.replace("[Width,Height]", "Width,OriginalImageHeight").replace(
        "[x,y]", "_x,OriginalImagePixelSpacing_y"
    )
    lines = [header, row("a.png", "Hernia", "00013", age="060Y"), row("b.png", patient="00014", age="006M")]
    batch = read(write(tmp_path, "sample_labels.csv", "\n".join(lines), IMAGES[:2]))
    assert batch.read_as == "Kaggle sample (sample_labels.csv)"
    assert batch.studies["age"].tolist() == [60, 0] and batch.studies["patient"].tolist() == ["13", "14"]
    assert labels(batch, "Hernia") == {"a.png": 1, "b.png": 0} and labels(batch, "Mass") == {"a.png": 0, "b.png": 0}


def test_what_is_needed_and_no_more(tmp_path: Path) -> None:
    rows = [("a.png", "pleural effusion|", "1"), ("b.png", "no_finding", "2"), ("c.png", "", "3")]
    batch = read(write(tmp_path, "t.csv", text(["Image", "labels", "patient"], rows), IMAGES))
    assert labels(batch, "Effusion") == {"a.png": 1, "b.png": 0, "c.png": -1}
    assert batch.studies[["age", "sex", "view"]].isna().all(axis=None)
    assert any("1 of 3 images have none" in note for note in batch.notes)


@pytest.mark.parametrize("cell", ["Effusion|Mass", "mass;effusion", "Mass, Pleural Effusion", "['mass', 'effusion']"])
def test_lists_in_several_spellings(cell: str, tmp_path: Path) -> None:
    batch = read(write(tmp_path, "t.csv", text(["image", "findings", "patient"], [("a.png", cell, 1)]), IMAGES[:1]))
    assert batch.studies[list(FINDINGS)].sum(axis=1).item() == 2
    assert batch.studies[["Effusion", "Mass"]].to_numpy().tolist() == [[1, 1]]


def test_a_finding_of_ones_own_is_unknown_where_a_list_never_names_it(tmp_path: Path) -> None:
    rows = [("a.png", "Effusion", "1"), ("b.png", "No Finding", "2")]
    batch = read(write(tmp_path, "t.csv", text(["image", "labels", "patient"], rows), IMAGES[:2]), OWN)
    assert batch.findings == ("Tuberculosis", "Effusion") and unknown(batch, "Tuberculosis")
    rows.append(("c.png", "tb", "3"))
    batch = read(write(tmp_path, "t.csv", text(["image", "labels", "patient"], rows), IMAGES), OWN)
    assert labels(batch, "Tuberculosis") == {"a.png": 0, "b.png": 0, "c.png": 1}


def test_findings_that_are_not_asked_for_are_passed_over(tmp_path: Path) -> None:
    rows = [("a.png", "Effusion|Hernia", "1"), ("b.png", "Hernia", "2")]
    root = write(tmp_path, "t.csv", text(["image", "labels", "patient"], rows), IMAGES[:2])
    (root / UNLABELLED_NOTICE).write_text("Mass\n")
    (root / BOXES).write_text(f"{BOX_HEADER}\na.png,Hernia,1,1,5,5,,,\na.png,Effusion,1,1,5,5,,,\n")
    batch = read(root, OWN)
    assert labels(batch, "Effusion") == {"a.png": 1, "b.png": 0} and batch.rejected.empty
    assert batch.boxes["finding"].tolist() == ["Effusion"]
    assert any(note.startswith("labels passed over: 'Hernia' (2)") for note in batch.notes)


def test_a_file_that_is_no_table_does_not_hide_the_one_that_is(tmp_path: Path) -> None:
    root = write(tmp_path, "t.csv", text(["image", "labels", "patient"], [("a.png", "Mass", "1")]), IMAGES[:1])
    (root / "LIESMICH.txt").write_bytes("Röntgenbilder".encode("latin-1"))
    assert read(root).read_as == "a list of findings an image (t.csv)"
    (root / "t.csv").write_bytes("image,labels,patient\na.png,Mass,Müller\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"is neither UTF-8 nor UTF-16.*CSV UTF-8"):
        read(root)


CELLS = ["1", "1.0", "TRUE", "yes", "0", "0.0", "False", "no", "-1", "-1.0", "", "nan"]
MEANT = [1] * 4 + [0] * 4 + [None] * 2 + [-1] * 2


@pytest.mark.parametrize(("uncertain", "doubt"), [("unknown", -1), ("positive", 1), ("negative", 0)])
def test_a_column_a_finding(tmp_path: Path, uncertain: str, doubt: int) -> None:
    names = [f"{number:02}.png" for number in range(len(CELLS))]
    rows = [(name, number, cell, "x") for number, (name, cell) in enumerate(zip(names, CELLS, strict=True))]
    root = write(tmp_path, "t.csv", text(["image", "patient", "Pleural Effusion", "Devices"], rows), names)
    batch = read(root, uncertain=uncertain)
    assert list(labels(batch, "Effusion").values()) == [doubt if label is None else label for label in MEANT]
    assert all(unknown(batch, finding) for finding in FINDINGS if finding != "Effusion")
    assert f"uncertain, read as {uncertain}: Effusion 2" in batch.notes
    assert any("columns passed over: Devices" in note for note in batch.notes)


def test_no_finding_makes_the_blanks_of_its_row_absent_and_contradicts_a_finding(tmp_path: Path) -> None:
    rows = [("a.png", "1", "1.0", "", ""), ("b.png", "2", "", "1.0", ""), ("c.png", "3", "1.0", "1.0", "")]
    header = ["image", "patient", "No Finding", "Effusion", "Mass"]
    batch = read(write(tmp_path, "t.csv", text(header, rows), IMAGES))
    assert labels(batch, "Effusion") == {"a.png": 0, "b.png": 1} and labels(batch, "Mass") == {"a.png": 0, "b.png": -1}
    assert unknown(batch, "Hernia"), "it has no column"
    assert batch.rejected["reason"].str.startswith("contradiction: No Finding beside a finding").tolist() == [True]
    assert not any("No Finding" in note for note in batch.notes)


def test_a_person_can_pass_no_finding_over_but_give_it_no_finding(tmp_path: Path) -> None:
    rows = [("a.png", "1", "1", "1", ""), ("b.png", "2", "1", "", "0")]
    root = write(tmp_path, "t.csv", text(["image", "patient", "No Finding", "Effusion", "Mass"], rows), IMAGES[:2])
    with pytest.raises(UserError, match="'No Finding' says that there is no finding"):
        read(root, labels={"No Finding": "Mass"})
    batch = read(root, labels={"No Finding": None})
    assert labels(batch, "Effusion") == {"a.png": 1, "b.png": -1} and labels(batch, "Mass") == {"a.png": -1, "b.png": 0}
    assert batch.rejected.empty


def test_a_cell_that_is_no_answer_is_rejected_with_row_and_what_is_allowed(tmp_path: Path) -> None:
    rows = [("a.png", 1, "0.7"), ("b.png", 2, "1")]
    batch = read(write(tmp_path, "t.csv", text(["image", "patient", "Mass"], rows), IMAGES[:2]))
    [rejected] = batch.rejected.to_dict("records")
    assert rejected["where"] == "t.csv row 2"
    assert rejected["reason"].startswith("unreadable label: Mass is 0.7; allowed are 1, 0, -1")


def test_what_a_cell_says_of_a_person_is_in_no_message(tmp_path: Path) -> None:
    person = "Jane Doe 1941"
    rows = [("a.png", person, "1"), ("b.png", "7E+11", "1"), ("c.png", 3, person)]
    root = write(tmp_path, "t.csv", text(["image", "patient", "Mass"], rows), ["a.png", "b.png", "c.png"])
    (root / BOXES).write_text(f"{BOX_HEADER}\na.png,{person},1,1,5,5\na.png,Mass,{person},1,5,5\n")
    reasons = "; ".join(read(root).rejected["reason"])
    assert "Mass is a text of 13 characters" in reasons and "unknown finding, a text of 13 characters" in reasons
    assert "x, y, w, h must be numbers; given a text of 13 characters, 1, 5, 5" in reasons
    assert "rounded patient id" in reasons and person not in reasons and "7E+11" not in reasons
    (root / "t.csv").write_text(f"a.png;{person};1\n")
    with pytest.raises(UserError, match="no names of columns in its first line") as raised:
        read(root)
    assert "Jane" not in str(raised.value)


def test_a_table_one_folder_below_is_pointed_at(tmp_path: Path) -> None:
    write(tmp_path / "CheXpert-v1.0-small", "train.csv", "Path,Mass\n", ["train/a.png"])
    with pytest.raises(UserError, match=r"no table in .* itself, but in .*CheXpert-v1\.0-small: give that folder"):
        read(tmp_path)


def test_two_columns_of_one_finding_and_what_a_person_says_of_others(tmp_path: Path) -> None:
    header = ["image", "patient", "Lung Lesion", "Nodule", "Effusion", "Mass"]
    rows = [("a.png", 1, 1, 0, 1, 1), ("b.png", 2, 0, "", 0, 0)]
    root = write(tmp_path, "t.csv", text(header, rows), IMAGES[:2])
    batch = read(root, labels={"lung_lesion": "Nodule", "Effusion": None, "Gout": None})
    assert labels(batch, "Nodule") == {"a.png": 1, "b.png": 0} and unknown(batch, "Effusion")
    assert any("(--labels) names what the table does not: Gout" in note for note in batch.notes)
    with pytest.raises(UserError, match="'Lung Lesion' is said to be 'Nodules', which is no finding; one of Atel"):
        read(root, labels={"Lung Lesion": "Nodules"})


def test_labels_of_a_list_that_a_person_explains(tmp_path: Path) -> None:
    rows = [("a.png", "Fluid, left|Gout", "1"), ("b.png", "Gout", "2")]
    root = write(tmp_path, "t.csv", text(["image", "labels", "patient"], rows), IMAGES[:2])
    batch = read(root, labels={"fluid, left": "Effusion", "Gout": None})
    assert labels(batch, "Effusion") == {"a.png": 1, "b.png": 0}


CHEXPERT = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Edema", "Pleural Effusion"]


def chexpert(patient: int, view: int, plane: str = "Frontal", direction: str = "AP") -> list[object]:
    path = f"CheXpert-v1.0-small/train/patient{patient:05d}/study1/view{view}_{plane.lower()}.jpg"
    return [path, "Female", 61, plane, direction, "", "-1.0", "1.0"]


@pytest.mark.parametrize("folder", ["", "CheXpert-v1.0-small/", "data/CheXpert-v1.0-small/"])
def test_chexpert(tmp_path: Path, folder: str) -> None:
    rows = [chexpert(1, 1), chexpert(2, 1, direction="PA"), chexpert(1, 2, "Lateral", "")]
    images = [str(line[0]).replace("CheXpert-v1.0-small/", folder) for line in rows]
    root = write(tmp_path, "train.csv", text(CHEXPERT, rows), images)
    batch = read(root)
    assert batch.read_as == "CheXpert (train.csv)"
    assert batch.studies["image"].tolist() == images[:2]  # their names alone are the same
    assert batch.paths[images[0]] == root / images[0]
    assert batch.studies["patient"].tolist() == ["patient00001", "patient00002"]
    assert batch.studies["view"].tolist() == ["AP", "PA"] and set(batch.studies["sex"]) == {"F"}
    assert labels(batch, "Effusion") == dict.fromkeys(images[:2], 1) and unknown(batch, "Edema")
    assert batch.left_out["reason"].tolist() == ["not frontal: LATERAL"] and batch.rejected.empty
    assert read(root, views="all").studies["view"].tolist() == ["AP", "LATERAL", "PA"]


def test_a_missing_image_is_not_another_of_its_name(tmp_path: Path) -> None:
    """CheXpert's views have the same names in all folders."""
    rows = [chexpert(1, 1), chexpert(2, 1)]
    root = write(tmp_path, "train.csv", text(CHEXPERT, rows), ["train/patient00001/study1/view1_frontal.jpg"])
    batch = read(root)
    assert batch.studies["patient"].tolist() == ["patient00001"]
    assert batch.rejected["reason"].str.startswith("image missing").tolist() == [True]
    flat = write(tmp_path / "flat", "train.csv", text(CHEXPERT, rows), ["view1_frontal.jpg"])
    batch = read(flat)  # which patient's is it?
    assert batch.studies.empty and batch.rejected["reason"].str.startswith("image missing").tolist() == [True, True]


def test_mimic_cxr(tmp_path: Path) -> None:
    views = [["aa-1", 10, 50, "PA"], ["bb-2", 10, 51, "LATERAL"], ["cc-3", 11, 52, ""], ["dd-4", 12, 53, "AP"]]
    studies = [[10, 50, 1.0, ""], ["11.0", "52.0", "", -1.0], [10, 51, 0.0, 0.0]]
    root = write(
        tmp_path,
        "mimic-cxr-2.0.0-metadata.csv",
        text(["dicom_id", "subject_id", "study_id", "ViewPosition"], views),
        [f"files/p10/{view[0]}.jpg" for view in views],
    )
    findings = text(["subject_id", "study_id", "Pleural Effusion", "Cardiomegaly"], studies)
    with pytest.raises(UserError, match=r"no table of findings beside .*mimic-cxr-2\.0\.0-chexpert\.csv"):
        read(root)
    (root / "mimic-cxr-2.0.0-negbio.csv").write_text(findings.replace("1.0", "0.0"))
    (root / "mimic-cxr-2.0.0-chexpert.csv").write_text(findings)
    (root / "mimic-cxr-2.0.0-split.csv").write_text("dicom_id,study_id,subject_id,split\naa-1,50,10,train\n")
    batch = read(root)
    assert batch.read_as == "MIMIC-CXR (mimic-cxr-2.0.0-metadata.csv)"
    assert labels(batch, "Effusion") == {"aa-1.jpg": 1, "cc-3.jpg": -1} and unknown(batch, "Cardiomegaly")
    assert batch.studies["patient"].tolist() == ["10", "11"]
    assert batch.rejected["reason"].str.startswith("no labels: mimic-cxr-2.0.0-chexpert.csv").tolist() == [True]
    assert "tables passed over: mimic-cxr-2.0.0-negbio.csv" in batch.notes


def mimic(root: Path, name: str, rows: str) -> Path:
    """A batch of one image, of study 50, and a table of findings."""
    write(root, "metadata.csv", "dicom_id,subject_id,study_id,ViewPosition\nd1,10,50,PA\n", ["d1.jpg"])
    (root / name).write_text(f"subject_id,study_id,Effusion\n{rows}")
    return root


@pytest.mark.parametrize("rows", ["10,50,1\n10,50,0\n", "10,50\n", "10,51,1\n"])
def test_a_study_without_one_row_of_findings_is_rejected(tmp_path: Path, rows: str) -> None:
    batch = read(mimic(tmp_path, "chexpert.csv", rows))
    assert batch.studies.empty
    assert any(batch.rejected["reason"].str.startswith("no labels: chexpert.csv has no row of this study, or two"))


def test_which_table_of_findings_is_read(tmp_path: Path) -> None:
    root = mimic(tmp_path, "aaa.CSV", "10,50,1\n")
    assert labels(read(root), "Effusion") == {"d1.jpg": 1}
    mimic(root, "0-chexpert-old.csv", "10,50,0\n")
    assert labels(read(root), "Effusion") == {"d1.jpg": 0}
    mimic(root, "chexpert.csv", "10,50,1\n")
    with pytest.raises(UserError, match=r"several tables of findings beside .*: 0-chexpert-old\.csv, chexpert\.csv"):
        read(root)
    mimic(root, "mimic-cxr-2.0.0-chexpert.csv", "10,50,1\n")
    batch = read(root)
    assert labels(batch, "Effusion") == {"d1.jpg": 1}
    assert "findings of mimic-cxr-2.0.0-chexpert.csv" in batch.notes
    assert "tables passed over: 0-chexpert-old.csv, chexpert.csv, aaa.CSV" in batch.notes


PADCHEST = ["", "ImageID", "PatientID", "Projection", "ViewPosition_DICOM", "PatientSex_DICOM", "Labels"]


def test_padchest(tmp_path: Path) -> None:
    rows = [
        [0, "a.png", "p1", "AP_horizontal", "", "F", "['pleural effusion', 'nsg tube', \"goiter\"]"],
        [1, "b.png", "p2", "L", "", "M", "['normal']"],
        [2, "c.png", "p3", "PA", "LATERAL", "", "['normal', 'laminar atelectasis']"],
    ]
    batch = read(write(tmp_path, "p.csv", text(PADCHEST, rows), IMAGES))
    assert batch.read_as == "PadChest (p.csv)"
    assert labels(batch, "Effusion") == {"a.png": 1, "c.png": 0} and labels(batch, "Atelectasis")["c.png"] == 1
    assert unknown(batch, "Hernia")  # which the table never names
    assert batch.studies["view"].tolist() == ["AP", "PA"]
    assert any(note.startswith("labels passed over: 'goiter' (1), 'nsg tube' (1)") for note in batch.notes)
    assert batch.left_out["image"].tolist() == ["b.png"]


@pytest.mark.parametrize(
    "cell",
    ["['mass', 'goiter']", "('mass', 'goiter')", "['mass', 'goiter', ]", "[\"mass\" , 'goiter','']", "[mass, goiter]"],
)
def test_a_whole_list_says_what_is_there_and_what_is_not(tmp_path: Path, cell: str) -> None:
    rows = [[0, "a.png", "1", "PA", "", "F", cell], [1, "b.png", "2", "PA", "", "F", "['hernia']"]]
    batch = read(write(tmp_path, "p.csv", text(PADCHEST, rows), IMAGES[:2]))
    assert labels(batch, "Mass") == {"a.png": 1, "b.png": 0} and labels(batch, "Hernia") == {"a.png": 0, "b.png": 1}


@pytest.mark.parametrize(
    "cell",
    [
        "['goiter', 'mass", "['goiter'", "['goiter, 'mass']", "['goiter', mass]", "['goiter' 'mass']",
        "'goiter', 'mass']", "'goiter', 'mass'", "(goiter, mass)", "('goiter', 'mass'", "['goiter', 'mass')",
        "goiter, mass]", "[goiter",
        "{'goiter', 'mass'}", "['it's', 'mass']",
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", [PADCHEST, [*PADCHEST[:1], "image", *PADCHEST[2:]]])
def test_a_list_that_is_not_whole_is_rejected_and_makes_nothing_absent(
    tmp_path: Path, cell: str, header: list[str]
) -> None:
    rows = [[0, "a.png", "1", "PA", "", "F", cell], [1, "b.png", "2", "PA", "", "F", "['mass']"]]
    batch = read(write(tmp_path, "p.csv", text(header, rows), IMAGES[:2]))
    assert labels(batch, "Mass") == {"b.png": 1}
    assert batch.rejected["reason"].str.partition(":")[0].tolist() == ["unreadable labels"]


def test_a_long_list_costs_no_more_than_its_length() -> None:
    spaces = " " * 100_000
    assert split_labels(f"['mass'{spaces}x]", LabelNames(OWN)) is None
    assert split_labels("[" + "'mass'," * 10_000, LabelNames(OWN)) is None


VINDR = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]


def test_vindr(tmp_path: Path) -> None:
    box = [10, 20, 110, 90]
    rows = [
        ["a", "Pleural effusion", 10, "R1", *box], ["a", "Pleural effusion", 10, "R2", *box],
        ["a", "Pleural effusion", 10, "R2", *box], ["a", "Cardiomegaly", 3, "R3", *box],
        ["b", "Cardiomegaly", 3, "R1", *box], ["b", "Cardiomegaly", 3, "R1", *box],
        ["b", "Other lesion", 9, "R2", *box],
        *(["c", "No finding", 14, reader, "", "", "", ""] for reader in ("R1", "R2", "R3")),
    ]  # fmt: skip
    root = write(tmp_path, "train.csv", text(VINDR, rows), ["train/a.dicom", "train/b.dicom", "train/c.dicom"])
    with pytest.raises(UserError, match="no column of patients"):
        read(root)
    batch = read(root, patients="image")
    assert batch.read_as == "VinDr-CXR (train.csv)" and batch.patients_by == "image"
    assert labels(batch, "Effusion") == {"a.dicom": 1, "b.dicom": 0, "c.dicom": 0}
    assert labels(batch, "Cardiomegaly") == {"a.dicom": -1, "b.dicom": -1, "c.dicom": 0} and unknown(batch, "Mass")
    assert batch.studies["patient"].tolist() == ["a.dicom", "b.dicom", "c.dicom"]
    boxes = batch.boxes.drop(columns="where").to_numpy().tolist()
    assert boxes == [["a.dicom", "Effusion", 10, 20, 100, 70]] * 3  # of what is present


@pytest.mark.parametrize("uncertain", ["unknown", "negative"])
def test_an_image_of_which_a_vote_is_lost_is_rejected(tmp_path: Path, uncertain: str) -> None:
    votes = "1,Mass,1\n1,Mass,2,x\n2,Mass,1\n2,Mass,2\nA,Mass,1\na,Mass,2\n"
    names = ["1.png", "2.png", "a.png"]
    root = write(tmp_path, "t.csv", f"image_id,class_name,rad_id\n{votes}", names)
    batch = read(root, patients="image", uncertain=uncertain)
    assert labels(batch, "Mass") == {"2.png": 1}
    reasons = set(zip(batch.rejected["image"], batch.rejected["reason"].str.partition(":")[0], strict=True))
    assert {("1", "votes lost"), ("1", "malformed row"), ("A", "votes of several spellings")} <= reasons


def test_one_reader_in_two_spellings_has_one_vote(tmp_path: Path) -> None:
    rows = "a,Mass,R1\na,Mass,r1\nb,Mass,R1\nb,Mass,R2\n"
    batch = read(write(tmp_path, "t.csv", f"image_id,class_name,rad_id\n{rows}", IMAGES[:2]), patients="image")
    assert labels(batch, "Mass") == {"a.png": -1, "b.png": 1}


def test_tables_that_are_none_or_several_are_refused_with_what_was_found(tmp_path: Path) -> None:
    table = text(["image", "labels", "patient"], [("a.png", "Mass", 1)])
    root = write(tmp_path, "one.csv", table, IMAGES[:1])
    (root / "README.txt").write_text("Images of a hospital; see one.csv\n")
    assert read(root).read_as == "a list of findings an image (one.csv)"
    (root / "two.csv").write_text(table)
    with pytest.raises(UserError, match=r"several tables in .*one\.csv.*two\.csv.*batches\.<name>\.table"):
        read(root)
    (root / "of_the_other.png").touch()
    batch = read(root, table="two.csv")
    assert batch.read_as == "a list of findings an image (two.csv)"
    assert batch.left_out["image"].tolist() == ["of_the_other.png"] and batch.rejected.empty
    for name in ("three.csv", "../elsewhere.csv", "/etc/passwd"):
        with pytest.raises(UserError, match=r"the table.*name a file within"):
            read(root, table=name)
    (root / "four.csv").write_text("\x1b[31mpicture," + "x" * 60_000)
    with pytest.raises(UserError, match=r"no column of images.*given are '\\x1b\[31mpicture, x+'….*Kinds of") as raised:
        read(root, table="four.csv")
    assert len(str(raised.value)) < 1500 and str(raised.value).isprintable()


HEAD = ["Image Index", "Patient ID", "Patient Age", "View Position", "Patient Gender"]
LISTED = {"list": ["Finding Labels"], "columns": ["Effusion", "pleural_thickening", "MASS"]}
BODY = {
    "list": [["Effusion|Mass"], ["No Finding"], ["Pleural Thickening"]],
    "columns": [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
}


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, bytes]:
    """The same three studies as a table of any order of columns, with more of them, in any usual file."""
    kind = draw(st.sampled_from(sorted(LISTED)))
    header = [*HEAD, *LISTED[kind]]
    rows: list[list[object]] = [
        [name, patient, 60, "PA", "F", *BODY[kind][place]]
        for place, (name, patient) in enumerate(zip(IMAGES, ("13", "14", "15"), strict=True))
    ]
    for number in range(draw(st.integers(0, 3))):
        header.append(f"extra {number}")
        cells = draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=3, max_size=3))
        rows = [[*line, cell] for line, cell in zip(rows, cells, strict=True)]
    order = draw(st.permutations(range(len(header))))
    lines = draw(st.permutations(rows))
    content = text(
        [header[i] for i in order], [[line[i] for i in order] for line in lines], draw(st.sampled_from(",;\t"))
    )
    if draw(st.booleans()):
        content = content.replace("\r\n", "\n")
    return kind, content.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


@settings(max_examples=50, deadline=None)
@given(spellings())
def test_order_of_columns_more_columns_separators_and_encodings_make_no_difference(table: tuple[str, bytes]) -> None:
    kind, content = table
    with tempfile.TemporaryDirectory() as folder:
        batch = read(write(Path(folder), "t.csv", content, IMAGES))
    assert batch.studies["image"].tolist() == list(IMAGES)
    assert batch.studies["patient"].tolist() == ["13", "14", "15"]
    assert batch.studies["age"].tolist() == [60] * 3 and batch.studies["view"].tolist() == ["PA"] * 3
    assert batch.studies[["Effusion", "Pleural_Thickening", "Mass"]].to_numpy().tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]
    others = batch.studies[[f for f in FINDINGS if f not in ("Effusion", "Pleural_Thickening", "Mass")]].to_numpy()
    assert (others == (0 if kind == "list" else -1)).all() and others.dtype == np.int8
    assert batch.rejected.empty


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", (HEADER + "\n").encode(), b"image,patient,Mass\n"]))
def test_any_bytes_are_read_or_refused_in_a_bounded_line(content: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), TABLE, start + content, IMAGES)
        try:
            batch = read(root)
        except UserError as error:
            assert len(str(error)) < 3000
        else:
            assert set(batch.studies["image"]) <= set(IMAGES)
            assert batch.rejected.map(str.isprintable).all(axis=None)


def test_the_columns_of_a_pandas_copy(tmp_path: Path) -> None:
    lines: Rows = [["0", *row("a.png", "Mass").split(","), ""], ["1", *row("b.png").split(","), ""]]
    header = ["", *HEADER.split(","), "Unnamed: 11"]
    batch = read(write(tmp_path, TABLE, text(header, lines), IMAGES[:2]))
    assert batch.read_as == f"NIH ChestX-ray14 ({TABLE})"
    assert labels(batch, "Mass") == {"a.png": 1, "b.png": 0} and isinstance(batch.studies, pd.DataFrame)


def test_what_a_person_said_of_a_label_counts_in_any_spelling_and_is_not_asked_again(tmp_path: Path) -> None:
    root = write(tmp_path, "t.csv", "image;patient;Erguss;Skoliose;Note\na.png;1;1;1;x\n", IMAGES[:1])
    batch = read(root, OWN, labels={"erguss": "effusion", "Skoliose": None})
    assert labels(batch, "Effusion") == {"a.png": 1}
    assert [note for note in batch.notes if "passed over" in note] == [
        "columns passed over: Note; labels can say that one is a finding"
    ]
