"""Write rows as CSV or Parquet; no more than a group of them is in memory."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from chestxray.errors import UserError
from chestxray.scoring.columns import Column, Row, Value
from chestxray.system.files import FORMULA

QUOTED = re.compile(r'[",\r\n]|^\s|\s$')
ROWS_PER_GROUP = 10_000
"""Of a row group of Parquet, which is in memory at once, as Arrow has it; a footer of many groups would be large."""
ROWS_AT_ONCE = 500
"""Rows that are in memory as Python has them, ten times as large."""

T = TypeVar("T")
Write = Callable[[Path, Sequence[Column], Iterable[Row], Mapping[str, str]], None]
"""Writes a file of columns and rows, with facts where the format has a place for them."""


def writer_of(output: Path) -> Write:
    """Return what writes a table, by the suffix of its name.

    Raises:
        UserError: another suffix; or what writes it is not installed.
    """
    suffix = output.suffix.lower()
    if suffix == ".csv":
        return write_csv
    if suffix != ".parquet":
        raise UserError(f"--output: a name that ends in .csv or .parquet is accepted, given {output.name!a}")
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 # a plain install has none
    except ModuleNotFoundError:
        raise UserError("--output: .parquet needs the package pyarrow: install it, or write .csv") from None
    return write_parquet


def written_text(text: str) -> str:
    r"""Return a text as UTF-8 can hold it: bytes of a file name that are none stand as `\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_csv(path: Path, columns: Sequence[Column], rows: Iterable[Row], facts: Mapping[str, str]) -> None:
    """Write CSV: UTF-8, commas, a header; empty where there is no value; true and false; floats to their last digit.

    A path that a spreadsheet would take for a formula gets `./` before it, which means the same file; any other text
    an apostrophe.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(_cell(column.name) for column in columns) + "\n")
        names = [column.name for column in columns]
        for row in rows:
            file.write(",".join(_cell(value, name) for value, name in zip(row, names, strict=True)) + "\n")


def _cell(value: Value, column: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(np.float32(value))
    if value.startswith(FORMULA):
        value = ("./" if column == "path" or column.endswith(":heatmap") else "'") + value
    text = written_text(value)
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text


def write_parquet(path: Path, columns: Sequence[Column], rows: Iterable[Row], facts: Mapping[str, str]) -> None:
    """Write Parquet: numbers are float32, decisions booleans, null where there is no value; `facts` as its metadata."""
    import pyarrow as pa  # noqa: PLC0415 # a plain install has none
    from pyarrow import parquet  # noqa: PLC0415 # the same

    types: dict[str, Any] = {"text": pa.string(), "number": pa.float32(), "flag": pa.bool_()}
    schema = pa.schema([pa.field(column.name, types[column.kind]) for column in columns], metadata=dict(facts))

    def batch_of(some: list[Row]) -> Any:
        columns = zip(zip(*some, strict=True), schema.types, strict=True)
        return pa.record_batch([pa.array(_written(values), kind) for values, kind in columns], schema=schema)

    with parquet.ParquetWriter(path, schema) as writer:
        for batches in _groups(map(batch_of, _groups(rows, ROWS_AT_ONCE)), ROWS_PER_GROUP // ROWS_AT_ONCE):
            writer.write_table(pa.Table.from_batches(batches), row_group_size=ROWS_PER_GROUP)


def _written(values: Sequence[Value]) -> list[Value]:
    return [written_text(value) if isinstance(value, str) else value for value in values]


def _groups(items: Iterable[T], count: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while group := list(islice(remaining, count)):
        yield group
