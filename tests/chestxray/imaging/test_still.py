"""Deep grey is shown by the bits that it occupies, and colour is told from grey."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageDraw

from chestxray.imaging.decode import decode
from chestxray.imaging.png import SIGNATURE, chunk
from chestxray.imaging.radiograph import Check
from chestxray.imaging.still import ANNOTATED, COLOURFUL
from tests.nih_batch import noise, png
from tests.serve.files import encoded

RAMP = np.linspace(0, 1, 6400).reshape(80, 80)
FILM = np.add.outer(np.arange(200), np.arange(200) // 2).astype(np.uint8)


def deep(bits: int) -> np.ndarray:
    return (RAMP * (2**bits - 1)).round().astype(np.uint16)


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    place = len(SIGNATURE) + 25
    return data[:place] + chunk(name, content) + data[place:]


def names(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks]


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "JPEG2000"])
def test_the_occupied_bits_become_full_scale_and_a_guess_is_told(bits: int, kind: str) -> None:
    if kind == "JPEG":
        data = imagecodecs.jpeg8_encode(deep(bits), lossless=True, bitspersample=16)
    else:
        data = encoded(deep(bits), kind)
    radiograph = decode(data)
    assert np.abs(radiograph.pixels - 255 * RAMP).max() <= 1
    assert names(radiograph.checks) == ([] if bits == 16 else ["bit-depth"])
    assert all((check.verdict, check.value) == ("warned", bits) for check in radiograph.checks)


def test_a_marker_at_full_scale_does_not_count() -> None:
    marked = deep(12)
    marked[:20, :20] = 65535
    radiograph = decode(png(marked))
    assert (radiograph.pixels[:20, :20] == 255).all()
    assert np.abs(radiograph.pixels - 255 * RAMP)[20:].max() <= 1
    assert names(radiograph.checks) == ["bit-depth"]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_significant_bits_that_the_file_tells_are_no_guess(bits: int) -> None:
    """At the top of the 16, as the PNG specification wants them, or at the bottom."""
    for stored in (deep(bits), deep(bits) << (16 - bits)):
        radiograph = decode(with_chunk(png(stored), b"sBIT", bytes([bits])))
        assert np.abs(radiograph.pixels - 255 * RAMP).max() <= 1
        assert radiograph.checks == ()


def test_a_dark_image_is_as_bright_as_the_file_says() -> None:
    dark = deep(12) // 16
    told = decode(with_chunk(png(dark), b"sBIT", b"\x0c"))
    assert told.pixels.max() == 16 and told.checks == ()


@pytest.mark.parametrize("bits", [0, 7, 17])
def test_a_senseless_number_of_significant_bits_is_ignored(bits: int) -> None:
    assert names(decode(with_chunk(png(deep(12)), b"sBIT", bytes([bits]))).checks) == ["bit-depth"]


def test_equal_channels_are_no_colour_whatever_they_went_through() -> None:
    rgb = Image.fromarray(FILM).convert("RGB")
    for kind, options in (("PNG", {}), ("JPEG", {"quality": 20}), ("JPEG", {"quality": 90}), ("TIFF", {})):
        stream = io.BytesIO()
        rgb.save(stream, kind, **options)
        assert decode(stream.getvalue()).checks == ()


def test_a_tint_is_no_colour() -> None:
    tinted = (FILM[..., None] * np.array([0.6, 0.8, 1.0])).astype(np.uint8)
    assert decode(png(tinted)).checks == ()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_coloured_marks_are_told_with_their_share(kind: str) -> None:
    marked = Image.fromarray(FILM).convert("RGB")
    ImageDraw.Draw(marked).rectangle((50, 60, 90, 110), outline=(255, 0, 0), width=3)
    stream = io.BytesIO()
    marked.save(stream, kind)
    (check,) = decode(stream.getvalue()).checks
    assert (check.name, check.verdict) == ("colour", "warned")
    assert ANNOTATED < check.value < COLOURFUL


def test_a_colour_photograph_is_refused() -> None:
    photograph = np.dstack([noise(1, (90, 90)), noise(2, (90, 90)), noise(3, (90, 90))])
    (check,) = decode(png(photograph)).checks
    assert (check.name, check.verdict) == ("colour", "refused") and "radiograph is grey" in check.message


def test_real_radiographs_have_no_doubts(shared: Path) -> None:
    for file in sorted((shared / "nih-originals" / "images").iterdir()):
        assert decode(file.read_bytes()).checks == (), file.name
