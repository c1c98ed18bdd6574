"""Decode a JPEG file of which no pixel is missing."""

from functools import partial

import imagecodecs
import numpy as np
import numpy.typing as npt

from chestxray.imaging.codecs.jpeg import END_OF_IMAGE, PROGRESSIVE, Jpeg, check_complete, read_jpeg
from chestxray.imaging.radiograph import DAMAGED, MAX_PIXELS, Radiograph, RadiographError
from chestxray.imaging.still import Grey, check_size, from_bits, from_colour, upright

KINDS = frozenset({0xC0, 0xC1, PROGRESSIVE, 0xC3})
"""Baseline, extended, progressive and lossless, of Huffman codes."""

APP_1 = 0xE1
APP_14 = 0xEE

# What a file may cost; see docs/decisions/untrusted-images.md.
MAX_SCANS = 100
"""A progressive one has about ten."""
MAX_SCANNED = 16 * MAX_PIXELS
"""Pixels that all scans go over together."""


def decode_jpeg(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a JPEG file to grey; colour becomes luma, and EXIF orientation is applied.

    Raises:
        RadiographError: it is of another kind, too large, truncated or damaged.
    """
    whole = data + bytes([0xFF, END_OF_IMAGE])  # if all pixels are there, it does not matter that their end is not
    jpeg = read_jpeg(whole)
    check_size(jpeg.columns, jpeg.rows, max_pixels)
    _check_kind(jpeg)
    check_cost(jpeg)
    grey = _grey(decode_complete(whole), jpeg)
    exif = next((content for name, content in jpeg.segments if name == APP_1 and content[:6] == b"Exif\0\0"), None)
    pixels = upright(grey.pixels, exif)
    return Radiograph(pixels, "JPEG", jpeg.bits, checks=grey.checks, turned=pixels is not grey.pixels)


def decode_complete(data: bytes, rgb: bool = False) -> npt.NDArray[np.generic]:
    """Decode a codestream with the end marked to height × width, or × 3 (RGB), or × 4 (CMYK as it is stored).

    Args:
        data: the codestream.
        rgb: whether three channels are stored as they are, rather than as luma and chroma.

    Raises:
        RadiographError: it is damaged, or pixels lack.
    """
    stored = "RGB" if rgb else None
    decode = partial(imagecodecs.jpeg8_decode, colorspace=stored, outcolorspace=stored)
    try:
        values = decode(data)
        check_complete(data, values, decode)
    except RuntimeError as error:  # imagecodecs'
        raise RadiographError(DAMAGED) from error
    return np.asarray(values)


def _check_kind(jpeg: Jpeg) -> None:
    """Refuse what is not decoded, naming the property and what would be accepted."""
    if jpeg.frame not in KINDS:
        message = "an arithmetic or hierarchical JPEG; baseline, progressive and lossless ones are accepted"
        raise RadiographError(message, "unsupported-format")
    if jpeg.components not in (1, 3, 4):
        raise RadiographError(f"a JPEG of {jpeg.components} channels; 1, 3 or 4 are accepted", "unsupported-format")
    if jpeg.bits != 8 and (jpeg.components != 1 or not 2 <= jpeg.bits <= 16):
        raise RadiographError(f"a JPEG of {jpeg.bits} bits; 8, or 2 to 16 of grey, are accepted", "unsupported-format")


def check_cost(jpeg: Jpeg) -> None:
    """Refuse a JPEG that takes too much time for its size.

    Raises:
        RadiographError: it has more scans than any has, or than its pixels allow.
    """
    scans, most = len(jpeg.scans), min(MAX_SCANS, MAX_SCANNED // max(jpeg.rows * jpeg.columns, 1))
    if scans > most:
        raise RadiographError(f"a JPEG of {scans:,} scans; up to {most} are accepted for its size")


def _grey(values: npt.NDArray[np.generic], jpeg: Jpeg) -> Grey:
    if jpeg.components == 1:
        return from_bits(values, jpeg.bits)
    colours = np.asarray(values, np.uint8)
    if jpeg.components == 3:
        return from_colour(colours)
    adobe = any(name == APP_14 and content.startswith(b"Adobe") for name, content in jpeg.segments)
    return from_colour(np.invert(colours) if adobe else colours, "CMYK")
