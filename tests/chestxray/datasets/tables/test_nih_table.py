"""The tables of a batch: every dialect reads alike, and each bad row is one line with its reason."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.batch_layout import BOXES, HEADER, OLD_TABLE, TABLE
from chestxray.datasets.batch import read_batch
from chestxray.datasets.tables.demographics import parse_age
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, NIH_VOCABULARY
from tests.chestxray.datasets.empty_batch import BOX_HEADER, batch, rejections, row


def test_reads_a_row_into_typed_columns(tmp_path: Path) -> None:
    read = read_batch(
        batch(tmp_path, row("a.png", "Hernia|Cardiomegaly", "0013", age="058Y", sex="F", view="AP")), NIH_VOCABULARY
    )
    [study] = read.studies.to_dict("records")
    assert study == {
        "image": "a.png", "patient": "13", "age": 58, "sex": "F", "view": "AP",
        **{finding: int(finding in ("Hernia", "Cardiomegaly")) for finding in FINDINGS},
    }  # fmt: skip
    assert read.paths == {"a.png": tmp_path / "images/a.png"}
    assert read.studies["age"].dtype == "Int16"
    assert all(read.studies[finding].dtype == np.int8 for finding in FINDINGS)
    assert read.official_test is None
    assert list(read.boxes) == ["image", "finding", "x", "y", "w", "h", "where"]
    assert read.boxes.empty
    assert rejections(read) == []


def test_sorts_by_image_and_does_not_depend_on_the_order_of_the_table(tmp_path: Path) -> None:
    rows = [
        row("b.png", "Mass", "2"),
        row("a.jpg", "Edema", "1"),
        row("c.DCM", "Hernia", "3"),
        row("missing.png"),
        row("no.png", "No Finding|Mass"),
    ]
    one = read_batch(batch(tmp_path / "one", *rows, images=("b.png", "a.jpg", "c.DCM")), NIH_VOCABULARY)
    other = read_batch(batch(tmp_path / "other", *rows[::-1], images=("b.png", "a.jpg", "c.DCM")), NIH_VOCABULARY)
    assert list(one.studies["image"]) == ["a.jpg", "b.png", "c.DCM"]
    pd.testing.assert_frame_equal(one.studies, other.studies)
    pd.testing.assert_frame_equal(one.rejected[["image", "reason"]], other.rejected[["image", "reason"]])


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
    [read] = read_batch(batch(tmp_path, row("a.png", age=text)), NIH_VOCABULARY).studies["age"]
    assert (None if read is pd.NA else read) == age


def test_other_sexes_and_views_are_unknown(tmp_path: Path) -> None:
    studies = read_batch(
        batch(tmp_path, row("a.png", sex="O", view="sitting"), row("b.png", sex="", view="")), NIH_VOCABULARY
    ).studies
    assert studies[["sex", "view"]].isna().all(axis=None)


def test_laterals_are_left_out_and_a_batch_of_them_alone_is_refused_with_their_number(tmp_path: Path) -> None:
    lateral = [row("a.png", view="LL"), row("gone.png", view="Lateral"), row("rib.png", view="COSTAL")]
    read = read_batch(
        batch(tmp_path / "one", *lateral, row("b.png"), images=("a.png", "rib.png", "b.png")), NIH_VOCABULARY
    )
    assert list(read.paths) == ["b.png"] and read.rejected.empty
    assert read.left_out["reason"].tolist() == ["not frontal: LATERAL", "not frontal: LATERAL", "not frontal: OTHER"]
    root = batch(tmp_path / "other", *lateral, row("missing.png"), images=("a.png", "rib.png"))
    with pytest.raises(UserError, match=r"3 of 4 rows .* \(2 LATERAL, 1 OTHER\).*prepare\.views: all"):
        read_batch(root, NIH_VOCABULARY)
    assert list(read_batch(root, NIH_VOCABULARY, views="all").paths) == ["a.png", "rib.png"]


@pytest.mark.parametrize("prefix", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("extra", ["", ","], ids=["v2020", "2017 with a comma at the end"])
def test_official_dialects_read_alike(prefix: str, end: str, extra: str, tmp_path: Path) -> None:
    batch(tmp_path, row("a.png", "Mass"))
    (tmp_path / TABLE).unlink()
    text = prefix + end.join(line + extra for line in [HEADER, row("a.png", "Mass")])
    (tmp_path / OLD_TABLE).write_bytes(text.encode())
    read = read_batch(tmp_path, NIH_VOCABULARY)
    assert list(read.studies["Mass"]) == [1]
    assert rejections(read) == []


def test_the_header_may_say_sex(tmp_path: Path) -> None:
    batch(tmp_path, row("a.png", sex="F"))
    table = tmp_path / TABLE
    table.write_text(table.read_text().replace("Patient Gender", "Patient Sex"))
    assert list(read_batch(tmp_path, NIH_VOCABULARY).studies["sex"]) == ["F"]


def test_each_bad_entry_is_one_line_with_its_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    read = read_batch(
        batch(
            tmp_path,
            row("good.png", "Mass"),
            row("good.png", "Hernia"),
            row("both.png", "No Finding|Mass"),
            row("gone.png"),
            row("patient.png", patient="../etc"),
            row("nobody.png", patient=""),
            "short.png,Mass,0,1",
            row("long.png") + ",7",
            images=(
                "good.png",
                "nobody.png",
                "both.png",
                "patient.png",
                "short.png",
                "long.png",
                "stray.jpeg",
                "Thumbs.db",
            ),
        ),
        NIH_VOCABULARY,
    )
    assert list(read.studies["image"]) == ["good.png"]
    assert list(read.studies["Mass"]) == [1]  # the first of the two rows
    assert rejections(read) == [
        ("both.png", "contradiction"),
        ("gone.png", "image missing"),
        ("good.png", "duplicate row"),
        ("long.png", "malformed row"),
        ("nobody.png", "no patient id"),
        ("patient.png", "unreadable patient id"),
        ("short.png", "malformed row"),
        ("stray.jpeg", "file without table row"),
    ]
    assert dict(zip(read.rejected["image"], read.rejected["where"], strict=True)) == {
        "good.png": f"{TABLE} row 3", "both.png": f"{TABLE} row 4", "gone.png": f"{TABLE} row 5",
        "patient.png": f"{TABLE} row 6", "nobody.png": f"{TABLE} row 7", "short.png": f"{TABLE} row 8",
        "long.png": f"{TABLE} row 9", "stray.jpeg": "images/stray.jpeg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../a.png", "image name leads out of the batch"), ("/etc/a.png", "image name leads out of the batch"),
        ("..\\a.png", "image name leads out of the batch"), ("C:\\a.png", "image name leads out of the batch"),
        ("images/../../a.png", "image name leads out of the batch"), ("a..png", "image missing"),
        (".a.png", "image missing"), ("", "no image name"), ("a\x00.png", "image missing"),
        ("=1+1.png", "image missing"),
        ("\x1b[31m.png", "image missing"), ("a" * 300 + ".png", "image missing"),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_rejected_and_shown_escaped(name: str, reason: str, tmp_path: Path) -> None:
    batch(tmp_path / "batch", row(name), row("good.png"), images=("good.png",))
    (tmp_path / "a.png").touch()  # what ../a.png would reach
    read = read_batch(tmp_path / "batch", NIH_VOCABULARY)
    assert list(read.paths) == ["good.png"]
    [(shown, kind)] = rejections(read)
    assert kind == reason
    assert shown in (name, ascii(name[:200]))
    assert shown.isprintable() and not shown.startswith("=")


def test_labels_that_nobody_knows_are_listed_with_counts_and_what_to_write(tmp_path: Path) -> None:
    rows = [row(f"{number}.png", "Gout|Mass" if number else "\x1b[31m" + "é" * 100_000) for number in range(3)]
    with pytest.raises(UserError) as raised:
        read_batch(batch(tmp_path, *rows), NIH_VOCABULARY)
    said = str(raised.value)
    assert "2 labels are none of the findings, by rows: 'Gout' (2), " in said
    assert 'batches.<name>.labels: {"Gout": null, "\\u001b[31m' in said
    assert len(said) < 1500 and said.isascii() and said.isprintable()


def test_boxes_of_the_batch_are_read_and_bad_ones_rejected(tmp_path: Path) -> None:
    batch(tmp_path, row("b.png"), row("a.png"), row("bad.png", "No Finding|Mass"))
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
    read = read_batch(tmp_path, NIH_VOCABULARY)
    assert list(read.boxes.itertuples(index=False, name=None)) == [
        ("a.png", "Mass", 0, 0, 1024, 1024, f"{BOXES} row 3"),
        ("b.png", "Infiltration", 1.5, 2, 3, 4, f"{BOXES} row 2"),
    ]
    assert (read.boxes.dtypes[["x", "y", "w", "h"]] == np.float64).all()
    assert len(rejections(read)) == 9
    assert all(image == "a.png" and reason == "box" for image, reason in rejections(read)[:-1])
    assert rejections(read)[-1] == ("bad.png", "contradiction")
