"""The tables of a batch: every dialect reads alike, and each bad row is one line with its reason."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.batch_layout import BOXES, HEADER, OLD_TABLE, TABLE
from chestxray.datasets.nih import read_batch
from chestxray.datasets.nih_table import parse_age
from chestxray.findings import FINDINGS
from tests.chestxray.datasets.empty_batch import BOX_HEADER, batch, rejections, row


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


def test_the_header_may_say_sex(tmp_path: Path) -> None:
    batch(tmp_path, row("a.png", sex="F"))
    table = tmp_path / TABLE
    table.write_text(table.read_text().replace("Patient Gender", "Patient Sex"))
    assert list(read_batch(tmp_path).studies["sex"]) == ["F"]


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
