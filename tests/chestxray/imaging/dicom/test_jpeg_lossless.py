"""Lossless JPEG decodes bit for bit, or is refused."""

import hashlib

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from chestxray.imaging.dicom.jpeg_lossless import decode_lossless_jpeg
from tests.dicom_files import lossless_jpeg


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("bits", "restart"), [(8, 0), (12, 5), (16, 16)])
def test_lossless_jpeg_comes_back_bit_for_bit(predictor: int, bits: int, restart: int) -> None:
    noise = np.random.default_rng(bits).integers(1 << bits, size=(33, 41), dtype=np.uint16)
    for pixels in (noise, np.sort(noise), np.full((200, 400), 7, np.uint16)):  # the last takes several blocks
        data = lossless_jpeg(pixels, bits, predictor, restart)
        assert np.array_equal(decode_lossless_jpeg(data, *pixels.shape), pixels)


@pytest.mark.parametrize("one_segment", [False, True])
def test_of_several_tables_of_codes_the_scan_names_one(one_segment: bool) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(33, 41), dtype=np.uint16)
    data = lossless_jpeg(pixels, 8)
    start = data.index(b"\xff\xc4")
    other = bytes([1, 1, *[0] * 15, 5])  # the number 1; its only code means the category 5
    if one_segment:
        data = data[: start + 2] + bytes([0, 36 + 18]) + other + data[start + 4 :]
    else:
        end = data.index(b"\xff\xdd")
        data = data[:end] + b"\xff\xc4\x00\x14" + other + data[end:]
    assert np.array_equal(decode_lossless_jpeg(data, *pixels.shape), pixels)


@pytest.mark.parametrize("end", [-1500, -1000, -3])
def test_lossless_jpeg_that_ends_early_is_refused(end: int) -> None:
    data = lossless_jpeg(np.random.default_rng(0).integers(256, size=(64, 48)), 8)
    with pytest.raises(ValueError, match=r"fewer|no code"):
        decode_lossless_jpeg(data[:end], 64, 48)


@pytest.mark.parametrize(
    ("name", "digest"),
    [("JPGLosslessP14SV1_1s_1f_8b.dcm", "53e607880105df3b"), ("JPEG-LL.dcm", "a6e9d32143339d3f")],
)
def test_lossless_jpeg_of_others_decodes_as_gdcm_does(name: str, digest: str) -> None:
    """The digests are of what GDCM 3.2.6 made of pydicom's test files."""
    dataset = pydicom.dcmread(get_testdata_file(name))
    pixels = decode_lossless_jpeg(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset.Rows, dataset.Columns)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == digest
