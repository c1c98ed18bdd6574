"""Codecs in a process of their own decode, and are stopped where they would not end."""

import io
import signal
import subprocess

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom.codec_process import decode_in_process
from tests.dicom_files import extended_jpeg


def test_jpeg_of_12_bits_comes_back() -> None:
    """Coefficients are whole numbers, which costs a few of 4,096 levels at most."""
    noise = np.random.default_rng(0).integers(4096, size=(40, 72), dtype=np.uint16)
    for pixels in (noise, np.sort(noise), np.full((8, 8), 4095, np.uint16)):
        decoded = decode_in_process("jpeg_12_worker", extended_jpeg(pixels), *pixels.shape)
        assert np.abs(decoded.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_12_bits_of_others_decodes_as_pydicom_says(name: str) -> None:
    """Two values that pydicom's own tests give; the second file is the first with a wrong header of the scan."""
    dataset = pydicom.dcmread(get_testdata_file(name))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    pixels = decode_in_process("jpeg_12_worker", frame, dataset.Rows, dataset.Columns)
    assert (pixels[420, 140], pixels[230, 120]) == (244, 95)


@pytest.mark.parametrize("end", [-1000, -1])
def test_jpeg_of_12_bits_that_ends_early_is_refused(end: int) -> None:
    data = extended_jpeg(np.random.default_rng(0).integers(4096, size=(64, 48), dtype=np.uint16))
    with pytest.raises(subprocess.CalledProcessError):
        decode_in_process("jpeg_12_worker", data[:end], 64, 48)


def test_jpeg_that_lacks_rows_before_its_end_is_grey_there_whatever_its_bits() -> None:
    """A known limit: Pillow tells of no warning of libjpeg. If it ever does, both should be refused."""
    noise = np.random.default_rng(0).integers(4096, size=(64, 48), dtype=np.uint16)
    stream = io.BytesIO()
    Image.fromarray((noise >> 4).astype(np.uint8)).save(stream, "JPEG")
    deep, flat = (data[: len(data) // 2] + b"\xff\xd9" for data in (extended_jpeg(noise), stream.getvalue()))
    for pixels in (decode_in_process("jpeg_12_worker", deep, 64, 48), decode(flat).pixels):
        assert pixels[:8].std() > 0 == pixels[-8:].std()


ENDLESS = (
    "ffd8fff7000b0c0040003001011100ffda0008010100000000afdfbf77bbf77be77d73c6fb6bde6fddef9df5cf1bedaf"
    "79ce737bdef7ad6b5ad6b560c17bceb8db4cb0bace"
)


def test_jpeg_ls_that_never_ends_is_stopped() -> None:
    """Found by `make fuzz`: it keeps CharLS in a loop."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        decode_in_process("jpeg_ls_worker", bytes.fromhex(ENDLESS), 64, 48)
    assert raised.value.returncode == -signal.SIGPROF
