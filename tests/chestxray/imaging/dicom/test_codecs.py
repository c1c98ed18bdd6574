"""Every codec decodes what its transfer syntax and the header announce, and nothing else."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import (
    FULL,
    JPEG_8_BIT,
    JPEG_2000,
    LOSSY,
    RAMP,
    SYNTAXES,
    dataset_of,
    dicom,
    lossless_jpeg,
    written,
)

DEEP = RAMP.astype(np.uint16) * 16
DEEP_SYNTAXES = [s for s in SYNTAXES if uid.UID(s).is_encapsulated and s != uid.JPEGBaseline8Bit]


def in_frame(codestream: bytes, syntax: str, allocated: int, stored: int, **elements: object) -> bytes:
    """A file whose header may say something else than its codestream."""
    dataset = dataset_of(RAMP, BitsAllocated=allocated, BitsStored=stored, HighBit=stored - 1, **elements)
    dataset.PixelData = encapsulate([codestream])
    return written(dataset, syntax)


@pytest.mark.parametrize(
    "options",
    [
        {"tile_size": (32, 32)},
        {"tile_size": (20, 13), "tile_offset": (0, 0), "num_resolutions": 2},
        {"codeblock_size": (4, 4)},
        {"codeblock_size": (64, 16), "precinct_size": (128, 128), "progression": "RPCL"},
        {"precinct_size": (64, 64), "quality_layers": [20, 5, 0], "progression": "PCRL"},
    ],
    ids=str,
)
def test_jpeg_2000_may_be_divided(options: dict[str, object]) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, "JPEG2000", no_jp2=True, plt=True, comment="by a test", **options)
    data = in_frame(stream.getvalue(), uid.JPEG2000Lossless, 8, 8, **FULL)
    assert np.array_equal(decode(data).pixels, RAMP)


def packed(pixels: np.ndarray, syntax: str) -> bytes:
    """The codestream alone."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(pixels, syntax, 12)))
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("syntax", [s for s in DEEP_SYNTAXES if s != uid.RLELossless])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 10)])
def test_values_that_the_header_has_no_bits_for_are_refused(syntax: str, allocated: int, stored: int) -> None:
    """Instead of wrapping them."""
    with pytest.raises(RadiographError, match=rf"beyond the {stored} bits"):
        decode(in_frame(packed(DEEP, syntax), syntax, allocated, stored))


@pytest.mark.parametrize("syntax", [s for s in DEEP_SYNTAXES if s not in (uid.RLELossless, *JPEG_2000)])
def test_a_codestream_may_have_more_bits_than_it_needs(syntax: str) -> None:
    small = RAMP.astype(np.uint16)
    levels = decode(in_frame(packed(small, syntax), syntax, 16, 10, WindowCenter=128, WindowWidth=256)).pixels
    assert np.abs(levels.astype(int) - RAMP).max() <= (3 if syntax in LOSSY else 0)


def test_signs_may_be_extended_beyond_the_bits_stored() -> None:
    signed = RAMP.astype(np.int16) - 100
    window = {"WindowCenter": 28, "WindowWidth": 256, "PixelRepresentation": 1}
    data = in_frame(lossless_jpeg(signed.view(np.uint16), 16), uid.JPEGLossless, 16, 12, **window)
    assert np.array_equal(decode(data).pixels, RAMP)


@pytest.mark.parametrize("syntax", JPEG_8_BIT)
@pytest.mark.parametrize("bits", [8, 12])
def test_lossless_jpeg_is_refused_where_another_kind_is_announced(syntax: str, bits: int) -> None:
    with pytest.raises(RadiographError, match="another kind of JPEG"):
        decode(in_frame(lossless_jpeg(RAMP.astype(np.uint16), bits), syntax, 8 if bits == 8 else 16, bits))
