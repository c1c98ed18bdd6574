"""Read tables of text with any usual separator and encoding; rows keep the numbers that the file gives them."""

import codecs
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chestxray.errors import UserError

SEPARATORS = (",", ";", "\t")
MAX_TABLE_BYTES = 2**30
SHORT = 4
"""Characters of a cell of which there are few different ones."""
MAX_HEADER = 65_536
"""Characters of a header."""


@dataclass(frozen=True)
class Header:
    """The first line of a table, as one separator splits it.

    Attributes:
        path: the table.
        encoding: of its text.
        separator: one of `SEPARATORS`.
        names: of the columns, without unnamed ones at the end.
    """

    path: Path
    encoding: str
    separator: str
    names: tuple[str, ...]


class MalformedRow(NamedTuple):
    """A row with too few or too many fields: its number, its fields."""

    number: int
    fields: list[str]


def read_headers(path: Path) -> tuple[Header, ...]:
    """Read the first line of a table as each separator splits it, that with most columns first.

    Raises:
        UserError: the table is larger than `MAX_TABLE_BYTES`, or its first line is no text or longer than `MAX_HEADER`.
    """
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise UserError(f"{path} is larger than {MAX_TABLE_BYTES:,} bytes: cut it to the rows of this batch")
    encoding = encoding_of(path)
    try:
        with path.open(encoding=encoding, newline="") as file:
            line = file.readline(MAX_HEADER + 1)
    except UnicodeError as error:
        raise _not_text(path) from error
    if len(line) > MAX_HEADER:
        raise UserError(f"{path}: its first line is longer than {MAX_HEADER:,} characters; expected the column names")
    headers = [Header(path, encoding, separator, _split(line, separator)) for separator in SEPARATORS]
    return tuple(sorted(headers, key=lambda header: -len(header.names)))


def read_columns(
    header: Header, places: Mapping[str, int], *, strip: bool = True
) -> tuple[pd.DataFrame, list[MalformedRow]]:
    """Read some columns of a table as text; rows without any content are passed over.

    Empty fields beyond those of the header are cut.

    Args:
        header: of the table.
        places: position of each column that is wanted, by the name that it gets.
        strip: whether spaces around a cell are taken away.

    Returns:
        The columns, indexed by the number of the row in the file, whose header is row 1; and the rows with a wrong
        number of fields.

    Raises:
        UserError: the table has no rows, is not text, or a row can't be split.
    """
    good: list[list[str]] = []
    numbers: list[int] = []
    malformed: list[MalformedRow] = []
    short: dict[str, str] = {}  # one object for each short cell: 0.0, PA, M …
    for number, fields in read_rows(header):
        if len(fields) != len(header.names):
            malformed.append(MalformedRow(number, fields))
        else:
            cells = [fields[place].strip() if strip else fields[place] for place in places.values()]
            good.append([short.setdefault(cell, cell) if len(cell) <= SHORT else cell for cell in cells])
            numbers.append(number)
    return pd.DataFrame(good, columns=list(places), index=pd.Index(numbers, dtype="int64"), dtype=object), malformed


def read_rows(header: Header) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each row that has some content, without empty fields beyond those of the header.

    Raises:
        UserError: the table has no rows, is not text, or a row can't be split.
    """
    width = len(header.names)
    number = None
    for number, row in _rows(header):
        yield number, row if len(row) <= width or any(row[width:]) else row[:width]
    if number is None:
        raise UserError(f"empty table: {header.path} has a header and no rows. Add a row per image.")


def _rows(header: Header) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each row that has some content."""
    path = header.path
    with path.open(encoding=header.encoding, newline="") as file:
        file.readline()
        reader = csv.reader(file, delimiter=header.separator, strict=True)
        try:
            for row in reader:
                if any(row):
                    yield reader.line_num + 1, row
        except csv.Error as error:
            number = reader.line_num + 1
            raise UserError(f"{path}, row {number}: {error}. Look for an unclosed quotation mark.") from error
        except UnicodeError as error:
            raise _not_text(path) from error


def encoding_of(path: Path) -> str:
    """Return the encoding of a text by the mark at its beginning: UTF-16 with one, else UTF-8."""
    with path.open("rb") as file:
        start = file.read(4)
    utf_16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and start != codecs.BOM_UTF32_LE
    return "utf-16" if utf_16 else "utf-8-sig"


def _not_text(path: Path) -> UserError:
    return UserError(f"{path} is neither UTF-8 nor UTF-16 with its mark: save it again as CSV UTF-8")


def _split(line: str, separator: str) -> tuple[str, ...]:
    try:
        names = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return ()
    while names and not names[-1].strip():
        names.pop()
    return tuple(name.strip() for name in names)
