"""A JPEG 2000 still comes out as the grey that it means, in boxes or without."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.nih_batch import noise

SHADES = np.add.outer(np.arange(70) * 2, np.arange(50)).astype(np.uint8)
TWELVE = np.linspace(0, 4095, 3500).round().astype(np.uint16).reshape(70, 50)


def jpeg2000(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", **options)
    return stream.getvalue()


@pytest.mark.parametrize("no_jp2", [True, False])
def test_grey_is_itself(*, no_jp2: bool) -> None:
    radiograph = decode(jpeg2000(SHADES, no_jp2=no_jp2))
    assert np.array_equal(radiograph.pixels, SHADES)
    assert (radiograph.format, radiograph.bit_depth) == ("JPEG 2000", 8)
    deep = decode(jpeg2000(TWELVE * 16, no_jp2=no_jp2))
    assert np.abs(deep.pixels - TWELVE / 4095 * 255).max() <= 1 and deep.checks == ()


def test_twelve_bits_in_sixteen_are_scaled_and_told() -> None:
    radiograph = decode(jpeg2000(TWELVE))
    assert np.abs(radiograph.pixels - TWELVE / 4095 * 255).max() <= 1
    assert [check.name for check in radiograph.checks] == ["bit-depth"]


def test_a_declared_depth_is_full_scale() -> None:
    stream = bytearray(jpeg2000(TWELVE // 16, no_jp2=True))
    assert stream[42] == 15
    dim = decode(bytes(stream))
    assert [check.value for check in dim.checks] == [8]


def test_colour_and_signed_pixels_are_refused_by_name() -> None:
    with pytest.raises(RadiographError, match="of 3 components; 1"):
        decode(jpeg2000(np.dstack([SHADES] * 3)))
    signed = bytearray(jpeg2000(SHADES, no_jp2=True))
    signed[42] |= 128
    with pytest.raises(RadiographError, match="8 signed bits; 1 to 16 unsigned"):
        decode(bytes(signed))


def test_too_many_tiles_and_pixels_are_refused_before_they_are_decoded() -> None:
    stream = bytearray(jpeg2000(noise(8), no_jp2=True))
    stream[24:32] = struct.pack(">LL", 1, 1)
    with pytest.raises(RadiographError, match="tiles"):
        decode(bytes(stream) if stream else b"")
    stream[8:16] = struct.pack(">LL", 100_000, 100_000)
    with pytest.raises(RadiographError, match="pixels") as raised:
        decode(bytes(stream))
    assert raised.value.kind == "image-too-large"


def test_boxes_without_a_codestream_are_refused() -> None:
    whole = jpeg2000(SHADES)
    for data in (whole[:30], whole[:12] + struct.pack(">L4s", 0, b"free"), whole[:12] + bytes(9000)):
        with pytest.raises(RadiographError, match="truncated or damaged"):
            decode(data)
