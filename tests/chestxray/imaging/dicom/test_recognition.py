"""A DICOM file is known by its content, whatever its name, preamble and meta header."""

import io
import struct

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom.recognition import encoding_of, first_element
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import FULL, NATIVE, RAMP, dicom

PREAMBLE, MAGIC = 128, 4


def bare(data: bytes) -> bytes:
    """The data set alone."""
    (length,) = struct.unpack_from("<L", data, PREAMBLE + MAGIC + 8)
    return data[PREAMBLE + MAGIC + 12 + length :]


@pytest.mark.parametrize("syntax", [syntax for syntax in NATIVE if syntax != uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize(
    "strip",
    [
        lambda data: data[PREAMBLE + MAGIC :],
        lambda data: data[PREAMBLE:],
        lambda data: data[: PREAMBLE + MAGIC] + bare(data),
        bare,
    ],
    ids=["no preamble", "DICM first", "no meta header", "bare"],
)
def test_less_than_a_whole_header_gives_the_same_pixels(strip, syntax: str) -> None:
    deep = RAMP.astype(np.uint16) * 16
    given_file = dicom(deep, syntax, 12, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(decode(strip(given_file)).pixels, decode(given_file).pixels)


def test_a_data_set_may_begin_with_another_element_than_its_class() -> None:
    for name, value in {"ImageType": "ORIGINAL", "SpecificCharacterSet": "ISO_IR 100"}.items():
        assert np.array_equal(decode(bare(dicom(RAMP, **FULL, **{name: value}))).pixels, RAMP)


@given(st.binary(max_size=300))
def test_other_bytes_are_another_format(data: bytes) -> None:
    if first_element(data) is None:
        with pytest.raises(RadiographError, match=r"neither|damaged"):
            decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "TGA", "PPM"])
def test_stills_are_not_dicom(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, kind)
    assert first_element(stream.getvalue()) is None and encoding_of(stream.getvalue()) is None


def test_a_preamble_without_magic_is_not_guessed_at() -> None:
    data = dicom(RAMP, **FULL)
    with pytest.raises(RadiographError, match="neither") as caught:
        decode(data[:PREAMBLE] + b"XXXX" + data[PREAMBLE + MAGIC :])
    assert caught.value.kind == "unsupported-format"


def test_pydicom_reads_the_bare_data_set_alike() -> None:
    data = bare(dicom(RAMP, uid.ImplicitVRLittleEndian, **FULL))
    assert encoding_of(data) == (True, True)
    assert pydicom.dcmread(io.BytesIO(data), force=True).Rows == len(RAMP)
