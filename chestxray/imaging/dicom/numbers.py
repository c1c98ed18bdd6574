"""Read the numbers and words of DICOM elements from their bytes, so that nothing is guessed (PS3.5, section 6.2).

pydicom leaves a number that it can't read as text, of which a first value is a first character. Here a number is read
or it is not: a decimal comma is a point, and everything else that is no number is None.
"""

import math
import re
import struct
import unicodedata

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue

BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "OW": "H", "UV": "Q", "SV": "q"}
"""Formats of `struct`, by value representation."""

DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WRITTEN_VALUES = 64
"""Of numbers written as text more are not looked at: the first one or three count."""


def numbers(element: RawDataElement | DataElement, signed: bool = False) -> list[float | None]:
    """Read the numbers of an element, in whichever value representation it has them.

    Args:
        element: with its bytes, as in the file, or with its value.
        signed: whether a word is, where the dictionary leaves it open and the file says nothing.

    Returns:
        A finite number for each value, None for what is none; an empty list if the element has no value.
    """
    value = element.value
    if isinstance(value, bytes):
        return _unpacked(value, _representation(element, signed), _little(element))
    values = value if isinstance(value, list | tuple | MultiValue) else [value]
    return [_written(str(part)) for part in values if value not in (None, "")]


def texts(element: RawDataElement | DataElement) -> list[str]:
    """Return the values of an element as text: upper case, no accents, no padding; an empty list if it has none.

    Bytes that are no UTF-8 are read as Latin-1: the terms that matter are ASCII, but for accents.
    """
    value = element.value
    if isinstance(value, bytes):
        try:
            written = value.decode("utf-8")
        except UnicodeDecodeError:
            written = value.decode("latin-1")
        parts = written.split("\\", WRITTEN_VALUES)
    else:
        parts = [str(part) for part in (value if isinstance(value, list | tuple | MultiValue) else [value or ""])]
    folded = [unicodedata.normalize("NFKD", part.strip(" \0\t\r\n")) for part in parts]
    plain = ["".join(letter for letter in part if not unicodedata.combining(letter)).upper() for part in folded]
    return plain if any(plain) else []


def _representation(element: RawDataElement | DataElement, signed: bool) -> str:
    """Return the value representation of the file, or, where it has none, of the dictionary."""
    kind = element.VR
    if kind in (None, "UN"):
        kind = dictionary_VR(element.tag)
    return ("SS" if signed else "US") if " or " in str(kind) else str(kind)


def _little(element: RawDataElement | DataElement) -> bool:
    return not isinstance(element, RawDataElement) or element.is_little_endian


def _unpacked(value: bytes, kind: str, little: bool) -> list[float | None]:
    if not value.strip(b" \0") and kind not in BINARY:
        return []
    if kind not in BINARY:
        return [_written(part) for part in value.decode("latin-1").split("\\", WRITTEN_VALUES)[:WRITTEN_VALUES]]
    size = struct.calcsize(f"<{BINARY[kind]}")
    if len(value) % size:
        return [None]
    unpacked = struct.unpack(f"{'<' if little else '>'}{len(value) // size}{BINARY[kind]}", value)
    return [float(number) if math.isfinite(number) else None for number in unpacked]


def _written(text: str) -> float | None:
    plain = text.strip(" \0\t\r\n").replace(",", ".")
    number = float(plain) if DECIMAL.fullmatch(plain) else math.nan
    return number if math.isfinite(number) else None
