"""Decode a PNG, JPEG or DICOM file to grey pixels, for training and serving alike."""

import io
import struct
from collections.abc import Callable

import cv2
import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from chestxray.imaging.dicom.recognition import first_element
from chestxray.imaging.radiograph import MAX_PIXELS, Pixels, Radiograph, RadiographError

# What a file may cost; see docs/decisions/untrusted-images.md.
MAX_SCANS = 100
"""Of a JPEG; a progressive one has about ten."""

MAX_SCANNED = 16 * MAX_PIXELS
"""Pixels that all scans of a JPEG go over together."""

MAX_TEXT = 2**22
"""Characters of text in a PNG, four bytes each."""

ROWS = 256
"""Turned to grey at a time: a colour copy of all takes four bytes a pixel."""

DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, OverflowError, TypeError, KeyError, IndexError, struct.error,
)  # fmt: skip
"""What Pillow's decoders raise for damaged files."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Radiograph:
    """Decode a PNG, JPEG or DICOM file, recognised by its content, to 8-bit grey.

    Full scale of 16-bit PNG files becomes full scale of 8 bits, colour becomes luma (ITU-R BT.601), transparency is
    dropped, EXIF orientation is applied; `chestxray.imaging.dicom.decode` says what happens to DICOM. The header is
    read first, so a file that claims more than `max_pixels` costs nothing.

    Args:
        data: the whole file.
        max_pixels: the most pixels to accept.

    Raises:
        RadiographError: another format, too many pixels, truncated or damaged, no projection radiograph.
    """
    if first_element(data) is not None:
        from chestxray.imaging.dicom.decode import decode_dicom  # noqa: PLC0415 # 30 MiB that a service without DICOM need not have

        return decode_dicom(data, max_pixels)
    try:
        return _decode_png_or_jpeg(data, max_pixels)
    except RadiographError:
        raise
    except Image.DecompressionBombError as error:
        raise RadiographError(f"more than {max_pixels:,} pixels", "image-too-large") from error
    except UnidentifiedImageError as error:
        raise RadiographError("neither PNG nor JPEG nor DICOM", "unsupported-format") from error
    except DAMAGE as error:
        raise RadiographError("truncated or damaged") from error


def _decode_png_or_jpeg(data: bytes, max_pixels: int) -> Radiograph:
    PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT  # the only way to tell Pillow
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        _check_cost(image, data, max_pixels)
        image.load()
        pixels = _upright(_grey(image), image)
        png = image.format == "PNG"  # Pillow calls some JPEG files MPO; a PNG's 25th byte is its depth
        return Radiograph(pixels, "PNG" if png else "JPEG", data[24] if png else 8)


def _check_cost(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Refuse an image of too many pixels or scans, by its header, before a pixel is decoded."""
    if image.width * image.height > max_pixels:
        raise RadiographError(f"{image.width}×{image.height} pixels are more than {max_pixels:,}", "image-too-large")
    scans = 1 if image.format == "PNG" else data.count(b"\xff\xda")
    if scans > MAX_SCANS or scans * image.width * image.height > MAX_SCANNED:
        raise RadiographError(f"too many scans: {scans}")


def _grey(image: Image.Image) -> Pixels:
    if image.mode == "L":
        return np.asarray(image)
    grey = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, ROWS):
        strip = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        # Pillow's own conversion of 16 bits clips at 255 instead of scaling; 255 / 65535 is 1 / 257.
        sixteen = strip.mode.startswith("I")
        values = np.asarray(strip).astype(np.uint16, copy=False) if sixteen else np.asarray(strip.convert("L"))
        grey[top : top + ROWS] = cv2.convertScaleAbs(values, alpha=1 / 257) if sixteen else values
    return grey


def _upright(pixels: Pixels, image: Image.Image) -> Pixels:
    """Apply the EXIF orientation; if a good image has a damaged one, leave the pixels as they are."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's reader of EXIF raises anything
        return pixels
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _transpose(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.transpose(pixels), np.uint8)  # several times as fast as NumPy's


TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: _transpose,
    6: lambda pixels: np.fliplr(_transpose(pixels)),
    7: lambda pixels: np.rot90(_transpose(pixels), 2),
    8: lambda pixels: np.flipud(_transpose(pixels)),
}
"""What brings an image upright, by its EXIF orientation; with 1 it is upright already."""
