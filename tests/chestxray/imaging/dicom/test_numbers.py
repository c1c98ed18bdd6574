"""Every number of a header is read by one rule, whatever the file calls it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom.numbers import numbers, texts
from tests.dicom_files import FULL, RAMP, dicom

TAGS = {"WindowCenter": Tag("WindowCenter"), "Rows": Tag("Rows"), "LUTDescriptor": Tag("LUTDescriptor")}


def element(value: bytes, vr: str | None, name: str = "WindowCenter", little: bool = True) -> RawDataElement:
    """An element as pydicom leaves it before it interprets it."""
    return RawDataElement(TAGS[name], vr, len(value), value, 0, vr is None, little)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"2048", [2048]),
        (b"2048,0", [2048]),
        (b" +2048.5 \0", [2048.5]),
        (b"-.5e+2", [-50]),
        (b"1,5\\2,5", [1.5, 2.5]),
        (b"2.048,0", [None]),
        (b"2048 HU", [None]),
        (b"0x800", [None]),
        (b"nan", [None]),
        (b"1e999", [None]),
        (b"1_000", [None]),
        (b"\xb2", [None]),
        (b"\\7", [None, 7]),
        (b"", []),
        (b"  \0", []),
    ],
)
@pytest.mark.parametrize("vr", ["DS", "IS", "LO", None])
def test_a_number_in_words_is_read_whole_or_not_at_all(written: bytes, read: list[float | None], vr: str) -> None:
    assert numbers(element(written, vr)) == read


@pytest.mark.parametrize(("vr", "form"), [("US", "H"), ("SS", "h"), ("UL", "L"), ("SL", "l"), ("FL", "f"), ("FD", "d")])
@pytest.mark.parametrize("order", "<>")
def test_binary_numbers_are_read_by_their_value_representation(vr: str, form: str, order: str) -> None:
    packed = struct.pack(f"{order}2{form}", 7, 4096)
    assert numbers(element(packed, vr, "Rows", order == "<")) == [7, 4096]
    assert numbers(element(packed[:-1], vr, "Rows", order == "<")) == [None]


def test_without_a_value_representation_the_dictionary_has_it() -> None:
    word = struct.pack("<H", 65535)
    assert numbers(element(word, None, "Rows")) == numbers(element(word, "UN", "Rows")) == [65535]
    assert numbers(element(word, None, "LUTDescriptor"), signed=True) == [-1]
    assert numbers(element(struct.pack("<d", float("inf")), "FD")) == [None]


@given(st.binary(max_size=40), st.sampled_from(["DS", "IS", "US", "FD", "OW", "CS", "UN", "SQ", None]))
def test_any_bytes_are_finite_numbers_or_none(value: bytes, vr: str | None) -> None:
    assert all(number is None or abs(number) < float("inf") for number in numbers(element(value, vr)))
    assert all(text == text.strip(" \0") for text in texts(element(value, vr)))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"chest ", ["CHEST"]),
        (b" Chest\0", ["CHEST"]),
        (b"L\\F ", ["L", "F"]),
        ("Schädel".encode(), ["SCHADEL"]),
        ("Schädel".encode("latin-1"), ["SCHADEL"]),
        (b" \0", []),
        (b"\\", []),
    ],
)
def test_words_lose_their_padding_case_and_accents(written: bytes, read: list[str]) -> None:
    assert texts(element(written, "CS")) == read


@pytest.mark.parametrize("name", ["WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue"])
def test_what_is_no_number_counts_as_absent_and_is_said(name: str) -> None:
    """The tag is followed by text in place of its value."""
    given = FULL | {"RescaleSlope": 1, "RescaleIntercept": 0, "PixelPaddingValue": 0}
    data = dicom(RAMP, **given)
    head = struct.pack("<HH", TAGS.get(name, Tag(name)).group, Tag(name).element)
    start = data.index(head)
    (length,) = struct.unpack_from("<H", data, start + 6)
    broken = decode(data[: start + 4] + b"LO\x04\x00?!?!" + data[start + 8 + length :])
    said = {check.message for check in broken.checks if check.name == "header-number"}
    assert len(said) == 1 and all(name in message and "?!" not in message for message in said)
    whole = decode(dicom(RAMP, **{key: value for key, value in given.items() if key != name}))
    assert (broken.pixels == whole.pixels).all()
