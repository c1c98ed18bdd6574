import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from chestxray.errors import UserError
from chestxray.scoring.columns import Column, Row
from chestxray.scoring.table import ROWS_PER_GROUP, write_csv, write_parquet, writer_of, written_text
from chestxray.system.files import FORMULA

COLUMNS = [Column("path", "text"), Column("note", "text"), Column("x:probability", "number"), Column("=x", "flag")]
ROWS: list[Row] = [["a.png", None, 0.1, True], ['"a",\r\n', " b ", None, None], ["=1", "@b", 1e-07, False]]


def test_csv_quotes_what_would_break_a_row_and_disarms_formulas(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", COLUMNS, ROWS, {})
    assert (tmp_path / "t.csv").read_bytes().decode() == (
        "path,note,x:probability,'=x\n"
        "a.png,,0.1,true\n"
        '"""a"",\r\n"," b ",,\n'
        "./=1,'@b,1e-07,false\n"
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["'=x"].tolist()[0] is True and table["x:probability"].dtype == float


@given(st.lists(st.text(st.characters(codec="utf-8")).filter(lambda text: not text.startswith(FORMULA)), min_size=1))
def test_any_text_comes_back_from_both_formats(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("texts")
    columns, rows = [Column("path", "text")], [[text] for text in texts]
    write_csv(folder / "t.csv", columns, rows, {})
    with (folder / "t.csv").open(newline="", encoding="utf-8") as file:
        assert [row[0] if row else "" for row in csv.reader(file)][1:] == texts
    write_parquet(folder / "t.parquet", columns, rows, {})
    assert parquet.read_table(folder / "t.parquet")["path"].to_pylist() == texts


def test_parquet_keeps_types_nulls_and_facts(tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", COLUMNS, ROWS, {"model": "m"})
    table = parquet.read_table(tmp_path / "t.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "string", "float", "bool"]
    assert table["=x"].to_pylist() == [True, None, False] and table["path"].to_pylist() == ["a.png", '"a",\r\n', "=1"]
    assert table.schema.metadata[b"model"] == b"m"


def test_parquet_is_written_in_groups_of_rows(tmp_path: Path) -> None:
    count = 2 * ROWS_PER_GROUP + 1
    write_parquet(tmp_path / "t.parquet", COLUMNS, ([str(n), None, n / 2, n % 2 == 0] for n in range(count)), {})
    file = parquet.ParquetFile(tmp_path / "t.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(3)] == [ROWS_PER_GROUP, ROWS_PER_GROUP, 1]
    assert file.read(["path"])["path"].to_pylist() == [str(number) for number in range(count)]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", COLUMNS, [], {})
    assert parquet.read_table(tmp_path / "t.parquet").column_names == [column.name for column in COLUMNS]


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert written_text("ä\udcff.png") == "ä\\xff.png"


def test_other_formats_are_refused() -> None:
    assert writer_of(Path("a.CSV")) is write_csv and writer_of(Path("a.parquet")) is write_parquet
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        writer_of(Path("scores.xlsx"))
