"""A PNG comes out as Pillow decodes it, whatever else is in the file, or is refused if a row is missing."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from PIL import Image

from chestxray.imaging import png
from chestxray.imaging.decode import decode
from chestxray.imaging.png import SIGNATURE, chunk
from chestxray.imaging.radiograph import RadiographError
from tests.nih_batch import noise

PIXELS = noise(5, (40, 50))


def rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def written(
    content: bytes, *, depth: int = 8, colour: int = 0, interlaced: int = 0, extra: bytes = b"", **parts: bytes
) -> bytes:
    """Return a PNG of 50 × 40 pixels with this content before compression."""
    header = struct.pack(">IIBBBBB", 50, 40, depth, colour, 0, 0, interlaced)
    data = parts.get("data", chunk(b"IDAT", parts.get("stream", zlib.compress(content))))
    return SIGNATURE + chunk(b"IHDR", header) + extra + data + parts.get("end", chunk(b"IEND", b""))


def interlace(pixels: np.ndarray) -> bytes:
    return b"".join(rows(pixels[top::down, left::across]) for top, left, down, across in png.ADAM_7)


WHOLE = rows(PIXELS)
KINDS = {
    "grey": {},
    "16 bits": {"depth": 16},
    "palette": {"colour": 3, "extra": chunk(b"PLTE", bytes(range(256)) * 3)},
    "RGB": {"colour": 2},
    "RGBA": {"colour": 6},
    "RGB, 16 bits": {"colour": 2, "depth": 16},
    "grey and transparency": {"colour": 4},
    "grey and transparency, 16 bits": {"colour": 4, "depth": 16},
    "RGBA, 16 bits": {"colour": 6, "depth": 16},
    "interlaced": {"interlaced": 1},
    "interlaced, 16 bits": {"interlaced": 1, "depth": 16},
}


def raw(kind: str) -> bytes:
    """Return all bytes that such a file inflates to."""
    if kind == "interlaced":
        return interlace(PIXELS)
    if kind == "interlaced, 16 bits":
        return interlace(np.repeat(PIXELS[..., None], 2, axis=2))
    samples = {"grey": 1, "16 bits": 2, "palette": 1, "RGB": 3, "RGBA": 4, "RGB, 16 bits": 6}
    samples |= {"RGBA, 16 bits": 8, "grey and transparency, 16 bits": 4}
    return rows(noise(6, (40, 50 * samples.get(kind, 2))))


@pytest.mark.parametrize("kind", KINDS)
def test_missing_rows_are_refused_though_the_stream_ends_properly(kind: str) -> None:
    content = raw(kind)
    decode(written(content, **KINDS[kind]))
    for kept in (0, 1, len(content) // 40, len(content) // 2, len(content) - 1):
        with pytest.raises(RadiographError, match="truncated or damaged"):
            decode(written(content[:kept], **KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_checksum_is_refused(kind: str) -> None:
    good = written(raw(kind), **KINDS[kind])
    place = good.index(b"IDAT") + 200
    with pytest.raises(RadiographError, match="truncated or damaged"):
        decode(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])


def test_interlaced_pixels_come_out_in_order() -> None:
    assert np.array_equal(decode(written(interlace(PIXELS), interlaced=1)).pixels, PIXELS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("twice", [0, png.MAX_TWICE])
def test_a_row_of_no_known_filter_is_refused(kind: str, twice: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MAX_TWICE", twice)
    with pytest.raises(RadiographError, match="truncated or damaged"):
        decode(written(b"\x09" + raw(kind)[1:], **KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("twice", [0, png.MAX_TWICE])
def test_decoders_say_nothing(
    kind: str, twice: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(png, "MAX_TWICE", twice)
    stream = zlib.compress(raw(kind))
    for odd in (b"", chunk(b"IDAT", b"junk"), chunk(b"IDAT", b"")):
        with contextlib.suppress(RadiographError):
            decode(written(raw(kind), end=odd + chunk(b"IEND", b""), **KINDS[kind]))
    decode(written(raw(kind) + bytes(10_000), **KINDS[kind]))
    for compressed in (stream[:-4], stream + b"junk", stream[:-4] + b"junk"):
        with contextlib.suppress(RadiographError):
            decode(written(b"", stream=compressed, **KINDS[kind]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("colour", "depth"), [(3, 16), (2, 4), (4, 1), (6, 2), (0, 3), (1, 8), (5, 8)])
def test_a_depth_that_the_type_of_colour_has_not_is_refused(colour: int, depth: int) -> None:
    with pytest.raises(RadiographError, match="truncated or damaged"):
        decode(written(bytes(40_000), colour=colour, depth=depth, extra=chunk(b"PLTE", bytes(768))))


@pytest.mark.parametrize(
    "palette", [b"", *(chunk(b"PLTE", bytes(size)) for size in (0, 4, 12, 771)), 2 * chunk(b"PLTE", bytes(768))]
)
def test_a_palette_that_lacks_or_has_not_the_colour_of_a_pixel_is_refused(palette: bytes) -> None:
    for depth, content in ((8, rows(np.full((40, 50), 4, np.uint8))), (4, rows(np.full((40, 25), 0x44, np.uint8)))):
        assert decode(written(content, colour=3, depth=depth, extra=chunk(b"PLTE", bytes(15)))).pixels.max() == 0
        with pytest.raises(RadiographError, match="truncated or damaged"):
            decode(written(content, colour=3, depth=depth, extra=palette))


BOMB = zlib.compress(bytes(50_000_000))
OTHER_CHUNKS = {
    "gAMA": chunk(b"gAMA", struct.pack(">I", 100_000)),
    "sRGB": chunk(b"sRGB", b"\0"),
    "iCCP": chunk(b"iCCP", b"x\0\0" + BOMB),
    "damaged iCCP": chunk(b"iCCP", b"x"),
    "zTXt": chunk(b"zTXt", b"x\0\0" + BOMB),
    "long tEXt": chunk(b"tEXt", bytes(5_000_000)),
    "many tEXt": 2000 * chunk(b"tEXt", b"x\0y"),
    "wrong checksum": chunk(b"tEXt", b"x\0y")[:-1] + b"?",
    "tRNS": chunk(b"tRNS", b"\0\x07"),
    "short tRNS": chunk(b"tRNS", b""),
    "PLTE": chunk(b"PLTE", bytes(6)),
    "sBIT": chunk(b"sBIT", b"\x07"),
    "APNG": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", struct.pack(">IIIIIHHBB", *[0] * 9)),
    "unknown": chunk(b"ABCD", b"x"),
}


@pytest.mark.parametrize("name", OTHER_CHUNKS)
@pytest.mark.parametrize("kind", ["grey", "grey and transparency"])
def test_no_other_chunk_changes_a_pixel_or_costs_anything(kind: str, name: str) -> None:
    content = WHOLE if kind == "grey" else rows(np.repeat(PIXELS, 2, axis=1))
    assert np.array_equal(decode(written(content, extra=OTHER_CHUNKS[name], **KINDS[kind])).pixels, PIXELS)


def test_all_rows_are_enough() -> None:
    for data in (
        written(WHOLE, end=b""),
        written(WHOLE, stream=zlib.compress(WHOLE)[:-4]),
        written(WHOLE + bytes(1_000_000)),
        written(WHOLE, stream=zlib.compress(WHOLE) + b"junk"),
        written(WHOLE) + b"junk",
    ):
        assert np.array_equal(decode(data).pixels, PIXELS)


def test_too_many_chunks_are_refused() -> None:
    many = chunk(b"tEXt", b"x\0y") * (png.MAX_CHUNKS + 1)
    with pytest.raises(RadiographError, match="chunks"):
        decode(written(WHOLE, extra=many))


@settings(max_examples=60, deadline=None)
@given(
    numpy_st.arrays(
        st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 40), st.integers(1, 40)), fill=st.nothing()
    ),
    st.integers(0, 9),
)
def test_grey_is_what_was_written(pixels: np.ndarray, level: int) -> None:
    """By whichever decoder: those of few pixels and of many take turns."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=level)
    fast = decode(stream.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "MAX_TWICE", 0)
        slow = decode(stream.getvalue())
    assert np.array_equal(fast.pixels, slow.pixels) and fast.checks == slow.checks
    if pixels.dtype == np.uint8:
        assert np.array_equal(fast.pixels, pixels)


def test_deep_colour_keeps_its_bits() -> None:
    grey = np.linspace(0, 4095, 2000).astype(">u2").reshape(40, 50, 1)
    for colour, samples in ((2, 3), (6, 4), (4, 2)):
        radiograph = decode(written(rows(np.repeat(grey, samples, axis=2)), depth=16, colour=colour))
        assert np.abs(radiograph.pixels - grey[..., 0] / 4095 * 255).max() <= 1
        assert [check.name for check in radiograph.checks] == ["bit-depth"]
