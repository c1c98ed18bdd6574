"""A TIFF of one page comes out as the grey that it means; other kinds are refused by name."""

import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chestxray.imaging import tiff
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.nih_batch import noise
from tests.serve.files import encoded, repeated_tags

SHADES = np.add.outer(np.arange(70) * 2, np.arange(50)).astype(np.uint8)
DEEP = np.linspace(0, 65535, 3500).round().astype(np.uint16).reshape(70, 50)
GREY = {256: 50, 257: 70, 258: 8, 259: 1, 262: 1, 277: 1, 278: 70}
COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"]


def saved(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "TIFF", **options)
    return stream.getvalue()


def written(tags: dict[int, object], parts: list[bytes], order: str = "<", *, following: int = 0) -> bytes:
    """Return a TIFF of these tags and strips, or tiles if it has their size; 4-byte values, outside where many."""
    places = (324, 325) if 322 in tags else (273, 279)
    offset = 8
    offsets = [offset + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries = {**tags, places[0]: offsets, places[1]: list(map(len, parts))}
    body = b"".join(parts)
    directory = b""
    for tag, value in sorted(entries.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(values)}L", *values)
        if len(values) > 1:
            body, packed = body + packed, struct.pack(order + "L", 8 + len(body))
        directory += struct.pack(order + "HHL", tag, 4, len(values)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HL", 42, 8 + len(body))
    return head + body + struct.pack(order + "H", len(entries)) + directory + struct.pack(order + "L", following)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("rows", [7, 70])
def test_grey_is_itself_however_it_is_packed(compression: str, predictor: int, rows: int) -> None:
    options = {"compression": compression, "tiffinfo": {278: rows, 317: predictor}}
    radiograph = decode(saved(Image.fromarray(SHADES), **options))
    assert np.array_equal(radiograph.pixels, SHADES)
    assert (radiograph.format, radiograph.bit_depth) == ("TIFF", 8)
    deep = decode(saved(Image.fromarray(DEEP), **options))
    assert np.abs(deep.pixels - DEEP / 257.0).max() <= 0.5 + 1e-9
    assert deep.bit_depth == 16


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_byte_order_and_what_zero_means(order: str, *, white_is_zero: bool) -> None:
    tags = GREY | {258: 16, 262: int(not white_is_zero)}
    stored = (65535 - DEEP if white_is_zero else DEEP).astype(order + "u2").tobytes()
    assert np.abs(decode(written(tags, [stored], order)).pixels - DEEP / 257.0).max() <= 0.5 + 1e-9


def test_tiles_are_put_in_their_places() -> None:
    padded = np.pad(SHADES, ((0, 10), (0, 14)))
    tiles = [padded[top : top + 16, left : left + 32].tobytes() for top in range(0, 80, 16) for left in (0, 32)]
    data = written(GREY | {322: 32, 323: 16, 259: 8}, [zlib.compress(tile) for tile in tiles])
    assert np.array_equal(decode(data).pixels, SHADES)


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(SHADES > 60)
    for compression in ("raw", "tiff_lzw", "packbits"):
        radiograph = decode(saved(image, compression=compression))
        assert np.array_equal(radiograph.pixels, np.where(SHADES > 60, 255, 0)) and radiograph.bit_depth == 1


def test_colour_becomes_luma() -> None:
    colour = np.dstack([SHADES, SHADES // 2, SHADES[::-1]])
    expected = np.asarray(Image.fromarray(colour).convert("L"))
    for options in ({}, {"compression": "tiff_lzw"}, {"tiffinfo": {317: 2}, "compression": "tiff_adobe_deflate"}):
        assert np.array_equal(decode(saved(Image.fromarray(colour), **options)).pixels, expected)
    palette = Image.fromarray(colour).convert("P")
    assert np.array_equal(decode(saved(palette)).pixels, np.asarray(palette.convert("RGB").convert("L")))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_in_tiff_is_as_pillow_decodes_it(mode: str) -> None:
    data = saved(Image.fromarray(SHADES).convert(mode), compression="jpeg", tiffinfo={278: 16})
    image = Image.open(io.BytesIO(data))
    assert np.abs(decode(data).pixels - np.asarray(image.convert("L"), int)).max() <= 1


@pytest.mark.parametrize("compression", [*COMPRESSIONS, "jpeg"])
def test_half_a_strip_is_refused(compression: str) -> None:
    data = saved(Image.fromarray(noise(7, (70, 50))), compression=compression)
    page = tiff._read_page(data)
    size = page.one(279)
    half = data.replace(
        struct.pack("<HHLL", 279, 4, 1, size), struct.pack("<HHLL", 279, 4, 1, size // 2)
    ).replace(struct.pack("<HHLHxx", 279, 3, 1, size), struct.pack("<HHLHxx", 279, 3, 1, size // 2))  # fmt: skip
    assert half != data
    with pytest.raises(RadiographError, match="truncated"):
        decode(half)


def test_a_missing_strip_is_refused() -> None:
    half = [SHADES[:35].tobytes()]
    with pytest.raises(RadiographError, match="truncated or damaged"):
        decode(written(GREY | {278: 35}, half))
    with pytest.raises(RadiographError, match="truncated or damaged"):
        decode(written(GREY | {278: 35}, half * 3))


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({339: 3}, "SampleFormat 3; 1"), ({339: 2}, "SampleFormat 2; 1"), ({258: 32}, "BitsPerSample 32; 1 or 8"),
        ({259: 4}, "Compression 4; 1 or 5"), ({262: 5}, "Interpretation 5;"), ({277: 5}, "SamplesPerPixel 5;"),
        ({277: 2, 284: 2}, "PlanarConfiguration 2; 1"), ({317: 3}, "Predictor 3; 1 or 2"), ({266: 2}, "FillOrder 2; 1"),
    ],
)  # fmt: skip
def test_other_kinds_are_refused_by_name(tags: dict[int, object], named: str) -> None:
    with pytest.raises(RadiographError, match=named) as raised:
        decode(written(GREY | tags, [SHADES.tobytes()]))
    assert raised.value.kind == "unsupported-format"


def test_several_pages_and_big_tiff_are_refused_by_name() -> None:
    page = Image.fromarray(SHADES)
    with pytest.raises(RadiographError, match="several pages; one"):
        decode(saved(page, save_all=True, append_images=[page]))
    with pytest.raises(RadiographError, match="BigTIFF"):
        decode(saved(page, big_tiff=True))


def test_floating_point_is_refused_by_name() -> None:
    with pytest.raises(RadiographError, match="SampleFormat 3; 1"):
        decode(saved(Image.fromarray(SHADES.astype(np.float32))))


def test_twelve_bits_in_sixteen_are_scaled_in_both_senses() -> None:
    twelve = np.linspace(0, 4095, 3500).round().astype(np.uint16).reshape(70, 50)
    for photometric, expected in ((1, twelve), (0, 4095 - twelve)):
        radiograph = decode(written(GREY | {258: 16, 262: photometric}, [twelve.tobytes()]))
        assert np.abs(radiograph.pixels - expected / 4095 * 255).max() <= 1
        assert [check.name for check in radiograph.checks] == ["bit-depth"]


@pytest.mark.parametrize("compression", [5, 8, 32773])
def test_a_strip_that_unpacks_to_more_costs_no_more(compression: int) -> None:
    """Or that is none at all."""
    strip = zlib.compress(SHADES.tobytes() + bytes(50_000_000)) if compression == 8 else bytes(1_000_000)
    try:
        assert decode(written(GREY | {259: compression}, [strip])).pixels.shape == (70, 50)
    except RadiographError as error:
        assert str(error) == "truncated or damaged"


def most_memory(data: bytes) -> float:
    """Return how many MiB a file takes that is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(RadiographError):
            decode(data)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_a_tag_counts_once_and_others_cost_nothing() -> None:
    assert most_memory(repeated_tags()) < 20
    many = written(GREY | {700 + tag: [1] * 1000 for tag in range(300)}, [SHADES.tobytes()])
    assert np.array_equal(decode(many).pixels, SHADES)
    with pytest.raises(RadiographError, match="4,097 values of tag 262; up to 4,096"):
        decode(written(GREY | {262: [1] * 4097}, [SHADES.tobytes()]))


def test_strips_that_all_have_the_same_bytes_are_refused() -> None:
    data = written(GREY | {278: 1}, [SHADES[:1].tobytes()] * 70)
    sizes = struct.pack("<70L", *[50] * 70)
    assert sizes in data
    with pytest.raises(RadiographError, match="damaged"):
        decode(data.replace(sizes, struct.pack("<70L", *[3000] * 70)))


@pytest.mark.parametrize("claimed", [(60_000, 60_000), (70, 51), (69, 50)])
def test_a_jpeg_of_another_size_than_its_strip_costs_nothing(claimed: tuple[int, int]) -> None:
    jpeg = bytearray(encoded(SHADES, "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", *claimed)
    assert most_memory(written(GREY | {259: 7}, [bytes(jpeg)])) < 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_tags_of_any_value_raise_nothing_else(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from([*GREY, 317, 320, 322, 323, 339, 347]), max_size=3))
    extreme = st.sampled_from([0, 1, 2, 3, 6, 7, 8, 16, 2**16, 2**31, 2**32 - 1])
    tags = GREY | {name: data.draw(st.one_of(extreme, st.lists(extreme, max_size=3))) for name in names}
    with contextlib.suppress(RadiographError):
        assert decode(written(tags, [SHADES.tobytes()])).pixels.dtype == np.uint8
