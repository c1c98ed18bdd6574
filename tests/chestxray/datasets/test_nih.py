"""Reading batches in NIH layout: the official tables, the official images, and everything a folder can get wrong."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.batch_layout import BOXES, HEADER, OLD_TABLE, TABLE, TEST_LIST, UNLABELLED_NOTICE
from chestxray.datasets.nih import Batch, read_batch
from chestxray.datasets.nih_table import parse_age
from chestxray.findings import FINDINGS
from tests.repository import SHARED

BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def row(
    image: str, findings: str = "No Finding", patient: str = "1", *, age: str = "57", sex: str = "M", view: str = "PA"
) -> str:
    return f"{image},{findings},0,{patient},{age},{sex},{view},2682,2749,0.143,0.143"


def batch(root: Path, *rows: str, images: tuple[str, ...] | None = None, folder: str = "images") -> Path:
    """Writes a batch of empty image files; by default the files that the rows name."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / TABLE).write_text("\n".join([HEADER, *rows]) + "\n")
    for image in [line.split(",")[0] for line in rows] if images is None else images:
        (root / folder / image).touch()
    return root


def rejections(read: Batch) -> list[tuple[str, str]]:
    return list(read.rejected.itertuples(index=False, name=None))


def test_reads_a_row_into_typed_columns(tmp_path: Path) -> None:
    read = read_batch(batch(tmp_path, row("a.png", "Hernia|Cardiomegaly", "0013", age="058Y", sex="F", view="AP")))
    [study] = read.studies.to_dict("records")
    assert study == {
        "image": "a.png", "patient": "13", "age": 58, "sex": "F", "view": "AP",
        **{finding: int(finding in ("Hernia", "Cardiomegaly")) for finding in FINDINGS},
    }  # fmt: skip
    assert read.paths == {"a.png": tmp_path / "images/a.png"}
    assert read.studies["age"].dtype == "Int16"
    assert all(read.studies[finding].dtype == np.int8 for finding in FINDINGS)
    assert read.official_test is None
    assert list(read.boxes) == ["image", "finding", "x", "y", "w", "h"]
    assert read.boxes.empty
    assert rejections(read) == []


def test_sorts_by_image_and_does_not_depend_on_the_order_of_the_table(tmp_path: Path) -> None:
    rows = [
        row("b.png", "Mass", "2"),
        row("a.jpg", "Edema", "1"),
        row("c.DCM", "Hernia", "3"),
        row("missing.png"),
        row("no.png", "?"),
    ]
    one = read_batch(batch(tmp_path / "one", *rows, images=("b.png", "a.jpg", "c.DCM")))
    other = read_batch(batch(tmp_path / "other", *rows[::-1], images=("b.png", "a.jpg", "c.DCM")))
    assert list(one.studies["image"]) == ["a.jpg", "b.png", "c.DCM"]
    pd.testing.assert_frame_equal(one.studies, other.studies)
    pd.testing.assert_frame_equal(one.rejected, other.rejected)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("57", 57), ("058Y", 58), ("0", 0), ("120", 120), ("121", None), ("411", None), ("414Y", None), ("58.0", 58),
        ("006M", 0), ("030m", 2), ("012W", 0), ("800D", 2), ("", None), ("-3", None), ("old", None), ("9" * 500, None),
        ("nan", None), ("0000057", 57),
    ],
)  # fmt: skip
def test_ages(text: str, age: int | None, tmp_path: Path) -> None:
    assert parse_age(text) == age
    [read] = read_batch(batch(tmp_path, row("a.png", age=text))).studies["age"]
    assert (None if read is pd.NA else read) == age


def test_other_sexes_and_views_are_unknown(tmp_path: Path) -> None:
    studies = read_batch(batch(tmp_path, row("a.png", sex="O", view="LL"), row("b.png", sex="", view=""))).studies
    assert studies[["sex", "view"]].isna().all(axis=None)


@pytest.mark.parametrize("prefix", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("extra", ["", ","], ids=["v2020", "2017 with a comma at the end"])
def test_official_dialects_read_alike(prefix: str, end: str, extra: str, tmp_path: Path) -> None:
    batch(tmp_path, row("a.png", "Mass"))
    (tmp_path / TABLE).unlink()
    text = prefix + end.join(line + extra for line in [HEADER, row("a.png", "Mass")])
    (tmp_path / OLD_TABLE).write_bytes(text.encode())
    read = read_batch(tmp_path)
    assert list(read.studies["Mass"]) == [1]
    assert rejections(read) == []


def test_the_header_as_nih_has_it_today_says_sex(tmp_path: Path) -> None:
    batch(tmp_path, row("a.png", sex="F"))
    table = tmp_path / TABLE
    table.write_text(table.read_text().replace("Patient Gender", "Patient Sex"))
    assert list(read_batch(tmp_path).studies["sex"]) == ["F"]


def test_archive_folders_and_a_file_that_is_in_two(tmp_path: Path) -> None:
    batch(tmp_path, row("a.png"), row("b.png"), images=("a.png",), folder="images_001/images")
    (tmp_path / "images_012/images").mkdir(parents=True)
    for image in ("a.png", "b.png"):
        (tmp_path / "images_012/images" / image).touch()
    read = read_batch(tmp_path)
    assert read.paths == {
        "a.png": tmp_path / "images_001/images/a.png",
        "b.png": tmp_path / "images_012/images/b.png",
    }
    assert rejections(read) == [("a.png", "duplicate file: in images_001/images and again in images_012/images")]


def test_each_bad_entry_is_one_line_with_its_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    read = read_batch(
        batch(
            tmp_path,
            row("good.png", "Mass"),
            row("good.png", "Hernia"),
            row("unknown.png", "Broken heart"),
            row("both.png", "No Finding|Mass"),
            row("gone.png"),
            row("patient.png", patient="../etc"),
            "short.png,Mass,0,1",
            row("long.png") + ",7",
            images=(
                "good.png",
                "unknown.png",
                "both.png",
                "patient.png",
                "short.png",
                "long.png",
                "stray.jpeg",
                "Thumbs.db",
            ),
        )
    )
    assert list(read.studies["image"]) == ["good.png"]
    assert list(read.studies["Mass"]) == [1]  # the first of the two rows
    assert rejections(read) == [
        ("both.png", "unknown finding 'No Finding'"),
        ("gone.png", "image missing"),
        ("good.png", "duplicate row"),
        ("long.png", "malformed row: 12 fields, expected 11"),
        ("patient.png", "malformed row: patient id"),
        ("short.png", "malformed row: 4 fields, expected 11"),
        ("stray.jpeg", "file without table row"),
        ("unknown.png", "unknown finding 'Broken heart'"),
    ]


@pytest.mark.parametrize(
    "name",
    ["../a.png", "images/a.png", "/etc/a.png", "..\\a.png", "a..png", ".a.png", "a.exe", "", "a\x00.png", "=1+1.png",
     "é.png", "\x1b[31m.png", "a" * 300 + ".png"],
)  # fmt: skip
def test_unsafe_names_are_rejected_and_shown_escaped(name: str, tmp_path: Path) -> None:
    batch(tmp_path / "batch", row(name), row("good.png"), images=("good.png",))
    (tmp_path / "a.png").touch()  # what ../a.png would reach
    (tmp_path / "batch/a.png").touch()
    read = read_batch(tmp_path / "batch")
    assert list(read.paths) == ["good.png"]
    [(shown, reason)] = rejections(read)
    assert reason == "unsafe image name"
    assert shown == ascii(name[:200])
    assert shown.isprintable()


def test_a_hostile_cell_cannot_blow_up_a_reason(tmp_path: Path) -> None:
    [(_, reason)] = rejections(read_batch(batch(tmp_path, row("a.png", "\x1b[31m" + "é" * 100_000))))
    assert reason.startswith("unknown finding")
    assert len(reason) <= 200
    assert reason.isascii()
    assert reason.isprintable()


def test_only_regular_files_are_images(tmp_path: Path) -> None:
    batch(tmp_path, row("folder.png"), row("pipe.png"), row("dangling.png"), images=())
    (tmp_path / "images/folder.png").mkdir()
    os.mkfifo(tmp_path / "images/pipe.png")
    (tmp_path / "images/dangling.png").symlink_to(tmp_path / "nowhere")
    assert {reason for _, reason in rejections(read_batch(tmp_path))} == {"image missing"}


def test_boxes_of_the_batch_are_read_and_bad_ones_rejected(tmp_path: Path) -> None:
    batch(tmp_path, row("b.png"), row("a.png"), row("bad.png", "?"))
    (tmp_path / BOXES).write_text(
        "\n".join(
            [
                BOX_HEADER,
                "b.png,Infiltrate,1.5,2,3,4,,,",
                "a.png,Mass,0,0,1024,1024",
                "elsewhere.png,Nonsense",
                "bad.png,Mass,1,1,1,1",
                "a.png,Nonsense,1,1,1,1",
                "a.png,Mass,-1,1,1,1",
                "a.png,Mass,1,1,0,1",
                "a.png,Mass,1,1,nan,1",
                "a.png,Mass,1,1,1,inf",
                "a.png,Mass,1,1,1,wide",
                "a.png,Mass,1,1,1",
                "a.png,Mass,1,1,1,1,1",
            ]
        )
    )
    read = read_batch(tmp_path)
    assert list(read.boxes.itertuples(index=False, name=None)) == [
        ("a.png", "Mass", 0, 0, 1024, 1024),
        ("b.png", "Infiltration", 1.5, 2, 3, 4),
    ]
    assert (read.boxes.dtypes[["x", "y", "w", "h"]] == np.float64).all()
    assert len(rejections(read)) == 9
    assert all(image == "a.png" and reason.startswith("box: ") for image, reason in rejections(read)[:-1])
    assert rejections(read)[-1] == ("bad.png", "unknown finding '?'")


@pytest.mark.parametrize("text", ["Hernia\nMass\n", "\ufeffMass\r\n\r\n  Hernia  \r\n", "Mass\nHernia\nMass"])
def test_findings_that_nobody_looked_for_are_neither_present_nor_absent(text: str, tmp_path: Path) -> None:
    root = batch(tmp_path, row("a.png", "Edema"), row("b.png", patient="2"), row("c.png", "Edema|Hernia", "3"))
    (root / UNLABELLED_NOTICE).write_text(text, encoding="utf-8", newline="")
    (root / BOXES).write_text(f"{BOX_HEADER}\na.png,Edema,1,1,5,5,,,\na.png,Mass,1,1,5,5,,,\n")
    read = read_batch(root)
    expected = {finding: [0, 0] for finding in FINDINGS} | {"Edema": [1, 0], "Mass": [-1, -1], "Hernia": [-1, -1]}
    assert read.studies[list(FINDINGS)].to_dict("list") == expected
    assert all(read.studies[finding].dtype == np.int8 for finding in FINDINGS)
    assert read.boxes["finding"].tolist() == ["Edema"]
    said = f"though {UNLABELLED_NOTICE} says that the batch does not label it"
    assert rejections(read) == [("a.png", f"box: Mass, {said}"), ("c.png", f"Hernia, {said}")]


def test_official_test_patients_are_those_of_listed_images(tmp_path: Path) -> None:
    batch(
        tmp_path,
        row("a.png", patient="007"),
        row("b.png", patient="7"),
        row("c.png", patient="8"),
        images=("b.png", "c.png"),
    )
    (tmp_path / TEST_LIST).write_bytes(b"elsewhere.png\r\na.png")
    assert read_batch(tmp_path).official_test == {"7"}


@pytest.mark.parametrize("line", ["7", "images/a.png", "a"])
def test_a_test_list_of_other_things_than_images_is_refused(tmp_path: Path, line: str) -> None:
    """It would leave the batch without test patients."""
    batch(tmp_path, row("a.png"), images=("a.png",))
    (tmp_path / TEST_LIST).write_text(f"a.png\n{line}\n")
    with pytest.raises(ValueError, match=r"test_list\.txt names images, one a line, such as .* it has '"):
        read_batch(tmp_path)


def _no_folder(root: Path) -> None:
    root.rename(root.with_name("moved"))


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_folder, "no such batch folder"),
        (lambda root: (root / TABLE).unlink(), f"no table.*{TABLE}"),
        (lambda root: (root / "images").rename(root / "pictures"), "no image folder.*images/"),
        (_write(TABLE, "image,label\na.png,Mass\n"), "wrong header.*expected 'Image Index.*given 'image,label'"),
        (_write(TABLE, ""), "wrong header.*given ''"),
        (_write(TABLE, HEADER + "\n\n"), "empty table"),
        (_write(TABLE, f'{HEADER}\n"{"x" * 200_000}'), "line 2.*quotation mark"),
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
        read_batch(root)


@pytest.mark.skipif(not (SHARED / "nih-tables").is_dir(), reason="the official tables are not at ../shared/nih-tables")
def test_the_official_tables(tmp_path: Path) -> None:
    for file in (SHARED / "nih-tables").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "images").mkdir()
    boxed = {line.split(",")[0] for line in (tmp_path / BOXES).read_text().splitlines()[1:]}
    for image in boxed:
        (tmp_path / "images" / image).touch()
    read = read_batch(tmp_path)
    assert len(read.studies) + len(read.rejected) == 112_120
    assert set(read.rejected["reason"]) == {"image missing"}
    assert len(read.boxes) == 984
    assert (read.boxes["finding"] == "Infiltration").sum() == 123
    assert read.official_test is not None
    assert len(read.official_test) == 2_797  # Wang et al.: 28,008 patients for training, 2,797 for testing
    assert read.studies["patient"].isin(read.official_test).all()  # every box is of an official test patient


@pytest.mark.skipif(not (SHARED / "nih-sample").is_dir(), reason="the real images are not at ../shared/nih-sample")
def test_the_real_sample() -> None:
    read = read_batch(SHARED / "nih-sample")
    assert (len(read.studies), read.studies["patient"].nunique(), len(read.rejected)) == (948, 765, 0)
    assert all(path.is_file() for path in read.paths.values())
    assert set(read.studies["view"]) == {"PA", "AP"}
    assert read.studies["age"].between(0, 120).all()
