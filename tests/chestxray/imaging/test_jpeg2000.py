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


@pytest.mark.parametrize("no_jp2", [True, False])
def test_colour_becomes_luma(*, no_jp2: bool) -> None:
    colour = np.dstack([SHADES, SHADES // 2, SHADES[::-1]])
    expected = np.asarray(Image.fromarray(colour).convert("L"))
    assert np.array_equal(decode(jpeg2000(colour, no_jp2=no_jp2)).pixels, expected)


def test_signed_pixels_and_transparency_are_refused_by_name() -> None:
    with pytest.raises(RadiographError, match="of 4 components; 1 or 3"):
        decode(jpeg2000(np.dstack([SHADES] * 4)))
    signed = bytearray(jpeg2000(SHADES, no_jp2=True))
    signed[42] |= 128
    with pytest.raises(RadiographError, match="8 signed bits; 1 to 16 unsigned"):
        decode(bytes(signed))


TILED = jpeg2000(noise(8, (90, 60)), no_jp2=True, tile_size=(32, 32))


def test_a_missing_part_of_a_tile_is_refused() -> None:
    """Where a tile is in parts, each of them is whole; decoders show what there is."""
    stream = bytearray(jpeg2000(SHADES, no_jp2=True))
    assert stream[stream.index(b"\xff\x90") + 11] == 1
    stream[stream.index(b"\xff\x90") + 11] = 2
    with pytest.raises(RadiographError, match="parts of a tile lack"):
        decode(bytes(stream))


@pytest.mark.parametrize("tile", range(6))
def test_a_missing_tile_is_refused(tile: int) -> None:
    assert decode(TILED).pixels.shape == (90, 60)
    places = [place for place in range(len(TILED)) if TILED[place : place + 4] == b"\xff\x90\0\x0a"] + [len(TILED) - 2]
    with pytest.raises(RadiographError, match="5 of 6 tiles"):
        decode(TILED[: places[tile]] + TILED[places[tile + 1] :])


def test_tiles_that_a_header_adds_are_refused() -> None:
    stream = bytearray(TILED)
    stream[24:32] = struct.pack(">LL", 1, 1)
    with pytest.raises(RadiographError, match="6 of 5400 tiles"):
        decode(bytes(stream))


def test_a_header_of_too_many_pixels_is_refused() -> None:
    stream = bytearray(TILED)
    stream[8:16] = struct.pack(">LL", 100_000, 100_000)
    with pytest.raises(RadiographError, match="pixels") as raised:
        decode(bytes(stream))
    assert raised.value.kind == "image-too-large"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("data", [TILED, jpeg2000(noise(9), no_jp2=True), jpeg2000(noise(9))])
def test_a_part_is_refused_with_an_end_marker_and_without(data: bytes, share: float) -> None:
    for end in (b"", b"\xff\xd9"):
        with pytest.raises(RadiographError, match="truncated"):
            decode(data[: int(share * len(data))] + end)


def test_boxes_without_a_codestream_are_refused() -> None:
    whole = jpeg2000(SHADES)
    for data in (whole[:30], whole[:12] + struct.pack(">L4s", 0, b"free"), whole[:12] + bytes(9000)):
        with pytest.raises(RadiographError, match="truncated or damaged"):
            decode(data)
