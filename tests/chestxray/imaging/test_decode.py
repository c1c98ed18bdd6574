"""Every kind of still image comes out as the grey levels that it means, or is refused."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.nih_batch import noise, png
from tests.repository import TOP

# A picture whose every quarter differs, so that no rotation or mirroring of it looks like another.
CORNERS = np.kron(np.array([[10, 90], [170, 250]], np.uint8), np.ones((16, 24), np.uint8))


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def test_8_bit_grey_is_itself() -> None:
    radiograph = decode(png(CORNERS))
    assert np.array_equal(radiograph.pixels, CORNERS) and radiograph.pixels.dtype == np.uint8
    assert (radiograph.format, radiograph.bit_depth) == ("PNG", 8)


def test_16_bit_grey_is_scaled_full_scale_to_full_scale() -> None:
    deep = np.linspace(0, 65535, 64 * 32).round().astype(np.uint16).reshape(32, 64)
    radiograph = decode(png(deep))
    assert np.abs(radiograph.pixels - deep / 257.0).max() <= 0.5 + 1e-9
    assert radiograph.bit_depth == 16


def test_transparency_is_dropped_not_painted() -> None:
    for alpha in (0, 128, 255):
        layers = np.dstack([CORNERS, CORNERS, CORNERS, np.full_like(CORNERS, alpha)])
        assert np.array_equal(decode(png(layers)).pixels, CORNERS)
        assert np.array_equal(decode(png(np.dstack([CORNERS, np.full_like(CORNERS, alpha)]))).pixels, CORNERS)


def test_palette_is_looked_up() -> None:
    indices = Image.fromarray((CORNERS // 80).astype(np.uint8), "P")
    indices.putpalette([level for grey in (10, 90, 170, 250) for level in (grey, grey, grey)] + [0] * 756)
    assert np.array_equal(decode(encoded(indices)).pixels, CORNERS)


def test_one_bit_is_black_and_white() -> None:
    radiograph = decode(encoded(Image.fromarray(CORNERS > 100)))
    assert np.array_equal(radiograph.pixels, np.where(CORNERS > 100, 255, 0))
    assert radiograph.bit_depth == 1


def test_colour_becomes_luma() -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[..., 0] = 200
    assert abs(int(decode(png(colour)).pixels[0, 0]) - 0.299 * 200) <= 1


def test_cmyk_jpeg_is_grey_of_what_it_looks_like() -> None:
    data = encoded(Image.fromarray(CORNERS).convert("RGB").convert("CMYK"), "JPEG", quality=98)
    assert np.abs(decode(data).pixels.astype(int) - CORNERS).mean() < 2


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, CORNERS), (2, CORNERS[:, ::-1]), (3, CORNERS[::-1, ::-1]), (4, CORNERS[::-1]),
        (5, CORNERS.T), (6, np.rot90(CORNERS)), (7, CORNERS[::-1, ::-1].T), (8, np.rot90(CORNERS, -1)),
    ],
)  # fmt: skip
def test_exif_orientation_is_undone(image_format: str, orientation: int, stored: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98} if image_format == "JPEG" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), image_format, exif=exif, **options)
    pixels = decode(data).pixels
    assert pixels.shape == CORNERS.shape
    assert np.abs(pixels.astype(int) - CORNERS).mean() < 2


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "WEBP", "ICO"])
def test_other_formats_are_refused(image_format: str) -> None:
    with pytest.raises(RadiographError, match="neither PNG, JPEG, TIFF, JPEG 2000 nor DICOM"):
        decode(encoded(Image.fromarray(noise(1)), image_format))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(RadiographError):
        decode(data)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(image_format: str, share: float) -> None:
    data = encoded(Image.fromarray(noise(2, (200, 200))), image_format)
    with pytest.raises(RadiographError, match=r"truncated|neither"):
        decode(data[: int(len(data) * share)])


PEAK = """
import resource, sys
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
small, bomb = (open(path, "rb").read() for path in sys.argv[1:])
decode(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(bomb)
except RadiographError as error:
    print(error)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown if sys.platform == "darwin" else 1024 * grown)
"""


def test_a_decompression_bomb_costs_a_sliver_of_what_it_unpacks_to(tmp_path: Path) -> None:
    """In a process of its own, where nothing else was as large before."""
    side = 12_000
    paths = tmp_path / "small.png", tmp_path / "bomb.png"
    for path, pixels in zip(paths, (noise(0, (50, 50)), np.zeros((side, side), np.uint8)), strict=True):
        path.write_bytes(png(pixels))
    done = subprocess.run([sys.executable, "-c", PEAK, *paths], cwd=TOP, capture_output=True, text=True, check=True)
    complaint, grown = done.stdout.splitlines()
    assert "pixels" in complaint
    assert int(grown) < side**2 / 5


def test_the_most_pixels_to_accept_are_a_setting() -> None:
    with pytest.raises(RadiographError, match="pixels"):
        decode(png(noise(0, (50, 50))), max_pixels=2499)


FORMATS = ("PNG", "JPEG", "TIFF", "JPEG2000")
VALID = {name: encoded(Image.fromarray(noise(3, (24, 24))), name) for name in FORMATS}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1))
def test_damage_never_raises_anything_else(image_format: str, edits: list[tuple[int, int]]) -> None:
    data = bytearray(VALID[image_format])
    for place, value in edits:
        data[place % len(data)] = value
    with contextlib.suppress(RadiographError):
        assert decode(bytes(data)).pixels.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    with pytest.raises(RadiographError):
        decode(data)


def test_real_radiographs_agree_with_opencv(shared: Path) -> None:
    files = sorted((shared / "nih-originals" / "images").iterdir())
    for file in files:
        expected = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert np.abs(decode(file.read_bytes()).pixels.astype(int) - expected).max() <= 1, file.name
    assert len(files) == 24
