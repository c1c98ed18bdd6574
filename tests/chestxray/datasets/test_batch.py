"""Reading a batch: its images, its lists, the official data, and everything that makes a folder no batch."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chestxray.batch_layout import BOXES, HEADER, TABLE, TEST_LIST, UNLABELLED_NOTICE
from chestxray.datasets.batch import read_batch
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, NIH_VOCABULARY
from tests.chestxray.datasets.empty_batch import BOX_HEADER, batch, rejections, row
from tests.repository import SHARED


def test_archive_folders_and_a_file_that_is_in_two(tmp_path: Path) -> None:
    batch(tmp_path, row("a.png"), row("b.png"), images=("a.png",), folder="images_001/images")
    (tmp_path / "images_012/images").mkdir(parents=True)
    for image in ("a.png", "b.png"):
        (tmp_path / "images_012/images" / image).touch()
    read = read_batch(tmp_path, NIH_VOCABULARY)
    assert read.paths == {"b.png": tmp_path / "images_012/images/b.png"}
    assert rejections(read) == [("a.png", "image is not unique")]
    assert "images_001/images/a.png and images_012/images/a.png have that name" in read.rejected["reason"][0]


def test_only_regular_files_are_images(tmp_path: Path) -> None:
    batch(tmp_path, row("folder.png"), row("pipe.png"), row("dangling.png"), row("a.png"), images=("a.png",))
    (tmp_path / "images/folder.png").mkdir()
    os.mkfifo(tmp_path / "images/pipe.png")
    (tmp_path / "images/dangling.png").symlink_to(tmp_path / "nowhere")
    assert rejections(read_batch(tmp_path, NIH_VOCABULARY)) == [
        ("dangling.png", "link to nothing"), ("folder.png", "image missing"), ("pipe.png", "no regular file"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["Hernia\nMass\n", "\ufeffMass\r\n\r\n  Hernia  \r\n", "Mass\nHernia\nMass"])
def test_findings_that_nobody_looked_for_are_neither_present_nor_absent(text: str, tmp_path: Path) -> None:
    root = batch(tmp_path, row("a.png", "Edema"), row("b.png", patient="2"), row("c.png", "Edema|Hernia", "3"))
    (root / UNLABELLED_NOTICE).write_text(text, encoding="utf-8", newline="")
    (root / BOXES).write_text(f"{BOX_HEADER}\na.png,Edema,1,1,5,5,,,\na.png,Mass,1,1,5,5,,,\n")
    read = read_batch(root, NIH_VOCABULARY)
    expected = {finding: [0, 0] for finding in FINDINGS} | {"Edema": [1, 0], "Mass": [-1, -1], "Hernia": [-1, -1]}
    assert read.studies[list(FINDINGS)].to_dict("list") == expected
    assert all(read.studies[finding].dtype == np.int8 for finding in FINDINGS)
    assert read.boxes["finding"].tolist() == ["Edema"]
    said = f"though {UNLABELLED_NOTICE} says that the batch does not label it"
    assert read.rejected["reason"].tolist() == [f"box: Mass, {said}", f"Hernia, {said}"]
    assert read.rejected["where"].tolist() == [f"{BOXES} row 3", f"{TABLE} row 4"]


def test_official_test_patients_are_those_of_listed_images(tmp_path: Path) -> None:
    batch(
        tmp_path,
        row("a.png", patient="007"),
        row("b.png", patient="7"),
        row("c.png", patient="8"),
        images=("b.png", "c.png"),
    )
    (tmp_path / TEST_LIST).write_bytes(b"elsewhere.png\r\na.png")
    assert read_batch(tmp_path, NIH_VOCABULARY).official_test == {"7"}


@pytest.mark.parametrize("line", ["7", "a.txt", "=1+1"])
def test_a_test_list_of_other_things_than_images_is_refused(tmp_path: Path, line: str) -> None:
    """It would leave the batch without test patients."""
    batch(tmp_path, row("a.png"), images=("a.png",))
    (tmp_path / TEST_LIST).write_text(f"a.png\n{line}\n")
    with pytest.raises(ValueError, match=r"test_list\.txt names images, one a line, as the table does; it has "):
        read_batch(tmp_path, NIH_VOCABULARY)


def test_lines_of_a_test_list_that_name_nothing_are_counted_and_an_empty_list_means_nobody(tmp_path: Path) -> None:
    batch(tmp_path, row("a.png", patient="7"), images=("a.png",))
    (tmp_path / TEST_LIST).write_text("a.png\nb.png\nc.png\n")
    assert (
        f"{TEST_LIST}: 2 of 3 lines name no image of the table, such as b.png"
        in read_batch(tmp_path, NIH_VOCABULARY).notes
    )
    (tmp_path / TEST_LIST).write_text("")
    assert read_batch(tmp_path, NIH_VOCABULARY).official_test == frozenset()


@pytest.mark.parametrize(
    ("lines", "said"),
    [("1.png\na/1.png\n", "names 1.png: image is not unique: a/1.png and b/1.png"), ("x.png\n", "none of its 1 lines")],
)
def test_a_test_list_that_means_two_files_or_nothing_is_refused(lines: str, said: str, tmp_path: Path) -> None:
    """It would leave images out of test that a person wants there."""
    folders = ("a", "b")
    batch(tmp_path, *(row(f"{folder}/1.png", patient=folder) for folder in folders), images=())
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").touch()
    (tmp_path / TEST_LIST).write_text(lines)
    with pytest.raises(UserError, match=said):
        read_batch(tmp_path, NIH_VOCABULARY)


def test_a_test_list_without_suffixes_that_names_nothing_is_refused(tmp_path: Path) -> None:
    batch(tmp_path, row("a"), images=("a.png",))
    (tmp_path / TEST_LIST).write_text("Image\n33\n")
    with pytest.raises(UserError, match="none of its 2 lines"):
        read_batch(tmp_path, NIH_VOCABULARY)


def _no_folder(root: Path) -> None:
    root.rename(root.with_name("moved"))


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_folder, "no such batch folder"),
        (lambda root: (root / TABLE).unlink(), f"no table.*{TABLE}"),
        (_write(TABLE, "image,label\na.png,Mass\n"), "no column of patients.*patients: image"),
        (
            _write(TABLE, "picture,label\na.png,Mass\n"),
            "no column of images, called Image Index.*given are 'picture, label'",
        ),
        (_write(TABLE, ""), "wrong header.*given are ''"),
        (_write(TABLE, HEADER + "\n\n"), "empty table"),
        (_write(TABLE, f'{HEADER}\n"{"x" * 200_000}'), "row 2.*quotation mark"),
        (_write(BOXES, "image,box\n"), f"wrong header in .*{BOXES}"),
        (_write(UNLABELLED_NOTICE, "Mass\nInfiltrate\n"), f"{UNLABELLED_NOTICE}: unknown finding 'Infiltrate'.*Hernia"),
        (_write(UNLABELLED_NOTICE, "Mass, Hernia\n"), "unknown finding 'Mass, Hernia'.*one a line"),
        (_write(UNLABELLED_NOTICE, "No Finding\n"), "unknown finding 'No Finding'"),
        (_write(UNLABELLED_NOTICE, "\n".join(FINDINGS)), "all 14 findings"),
        (_write(UNLABELLED_NOTICE, "\n"), "names no finding; delete it"),
        (_write(UNLABELLED_NOTICE, "\n" * 5000), "longer than 4096 bytes"),
        (lambda root: (root / UNLABELLED_NOTICE).write_bytes(b"Mass\xff"), f"{UNLABELLED_NOTICE}: 'utf-8' codec"),
    ],
)
def test_an_unusable_batch_is_an_error_that_says_why(
    damage: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    root = batch(tmp_path / "batch", row("a.png"))
    damage(root)
    with pytest.raises(ValueError, match=f"(?s){said}"):
        read_batch(root, NIH_VOCABULARY)


@pytest.mark.skipif(not (SHARED / "nih-tables").is_dir(), reason="the official tables are not at ../shared/nih-tables")
def test_the_official_tables(tmp_path: Path) -> None:
    for file in (SHARED / "nih-tables").iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "images").mkdir()
    boxed = {line.split(",")[0] for line in (tmp_path / BOXES).read_text().splitlines()[1:]}
    for image in boxed:
        (tmp_path / "images" / image).touch()
    read = read_batch(tmp_path, NIH_VOCABULARY)
    assert len(read.studies) + len(read.rejected) == 112_120
    assert {reason for _, reason in rejections(read)} == {"image missing"}
    assert len(read.boxes) == 984 and read.boxes_side == 1024
    assert (read.boxes["finding"] == "Infiltration").sum() == 123
    assert read.official_test is not None
    assert len(read.official_test) == 2_797  # Wang et al.: 28,008 patients for training, 2,797 for testing
    assert read.studies["patient"].isin(read.official_test).all()  # every box is of an official test patient


@pytest.mark.skipif(not (SHARED / "nih-sample").is_dir(), reason="the real images are not at ../shared/nih-sample")
def test_the_real_sample() -> None:
    read = read_batch(SHARED / "nih-sample", NIH_VOCABULARY)
    assert (len(read.studies), read.studies["patient"].nunique(), len(read.rejected)) == (948, 765, 0)
    assert all(path.is_file() for path in read.paths.values())
    assert set(read.studies["view"]) == {"PA", "AP"}
    assert read.studies["age"].between(0, 120).all()
