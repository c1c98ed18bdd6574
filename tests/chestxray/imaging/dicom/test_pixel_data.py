"""Pixel data come out as the bits stored, as many as rows and columns need."""

import numpy as np
import pytest

from chestxray.imaging.dicom.header import read_file
from chestxray.imaging.dicom.pixel_data import stored_values
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import NATIVE, RAMP, dicom

DEEP = RAMP.astype(np.uint16) * 16


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("pixels", [RAMP, RAMP[:7, :5], DEEP, DEEP.astype(np.int16) - 100], ids=["8", "odd", "16", "i"])
def test_native_values_come_out_as_they_are(syntax: str, pixels: np.ndarray) -> None:
    values = stored_values(read_file(dicom(pixels, syntax)))
    assert values.dtype == f"u{pixels.itemsize}" and np.array_equal(values.view(pixels.dtype), pixels)


def test_bits_above_those_stored_are_an_overlay() -> None:
    assert np.array_equal(stored_values(read_file(dicom(DEEP | 0xF000, bits=12))), DEEP)


@pytest.mark.parametrize("syntax", NATIVE)
def test_fewer_pixels_than_rows_and_columns_are_refused(syntax: str) -> None:
    with pytest.raises(RadiographError, match="fewer pixels"):
        stored_values(read_file(dicom(RAMP, syntax, Rows=65)))


def test_items_where_native_pixels_are_announced_are_refused() -> None:
    head = b"\xe0\x7f\x10\x00OB\0\0"
    length = RAMP.size.to_bytes(4, "little")
    data = dicom(RAMP)
    assert head + length in data
    with pytest.raises(RadiographError, match="damaged"):
        stored_values(read_file(data.replace(head + length, head + b"\xff\xff\xff\xff")))
