"""Pixel data come out as the bits stored, as many as rows and columns need."""

import numpy as np
import pytest

from chestxray.imaging.decode import decode
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
    with pytest.raises(RadiographError, match="PixelData is in items"):
        stored_values(read_file(data.replace(head + length, head + b"\xff\xff\xff\xff")))


def colours(syntax: str, values: np.ndarray, **elements: object) -> bytes:
    """A file of three samples a pixel."""
    given = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Rows": 64, "Columns": 48} | elements
    return dicom(values.reshape(len(values), -1), syntax, **given)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("pixels", [RAMP, RAMP.astype(np.uint16) * 257], ids=["8", "16"])
def test_grey_that_is_stored_as_colours_is_grey(syntax: str, pixels: np.ndarray) -> None:
    neutral = np.full_like(pixels, 128 if pixels.itemsize == 1 else 32768)
    rgb, ybr = np.stack([pixels] * 3, axis=-1), np.stack([pixels, neutral, neutral], axis=-1)
    pairs = np.stack([pixels[:, ::2], pixels[:, 1::2], neutral[:, ::2], neutral[:, ::2]], axis=-1)
    for values, kind in ((rgb, "RGB"), (ybr, "YBR_FULL"), (pairs, "YBR_FULL_422")):
        assert np.array_equal(decode(colours(syntax, values, PhotometricInterpretation=kind)).pixels, RAMP)
    planes = np.concatenate([pixels] * 3)
    in_planes = colours(syntax, planes, PhotometricInterpretation="RGB", PlanarConfiguration=1)
    assert np.array_equal(decode(in_planes).pixels, RAMP)


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colours_are_refused_by_name(kind: str) -> None:
    values = np.stack([RAMP, RAMP, RAMP], axis=-1)
    values[5, 5] = 200, 10, 90
    with pytest.raises(RadiographError, match=f"PhotometricInterpretation is {kind} and pixels have colours"):
        decode(colours(NATIVE[1], values, PhotometricInterpretation=kind))
    with pytest.raises(RadiographError, match="fewer pixels"):
        decode(colours(NATIVE[1], values, PhotometricInterpretation=kind, Rows=65))


@pytest.mark.parametrize(("values", "bits", "warned"), [(DEEP, 12, False), (DEEP, 10, True), (DEEP | 0x8000, 12, True)])
def test_values_that_need_more_bits_than_are_stored_are_warned_of(values: np.ndarray, bits: int, warned: bool) -> None:
    checks = decode(dicom(values, bits=bits, WindowCenter=512, WindowWidth=1024)).checks
    assert ("bits-stored" in {check.name for check in checks}) == warned


def test_the_sign_may_be_repeated_above_the_bits_stored() -> None:
    data = dicom(DEEP.astype(np.int16) - 2048, bits=12, WindowCenter=0, WindowWidth=4096)
    assert not decode(data).checks
