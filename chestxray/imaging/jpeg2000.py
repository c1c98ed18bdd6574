"""Decode a JPEG 2000 still: a codestream as it is, or in the boxes of a JP2 file."""

import io
import struct

import numpy as np
from PIL import Image

from chestxray.imaging.dicom.codestream import check_jpeg2000
from chestxray.imaging.radiograph import Radiograph, RadiographError
from chestxray.imaging.still import DAMAGED, Grey, check_size, from_deep

BOXES = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"

MAX_BOXES = 1000


def decode_jpeg2000(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a JPEG 2000 file of one component to grey.

    Raises:
        RadiographError: it is of another kind, too large, truncated or damaged.
        OSError, ValueError, struct.error, IndexError: it is damaged.
    """
    stream = data if data.startswith(CODESTREAM) else _unboxed(data)
    right, bottom, left, top = struct.unpack_from(">LLLL", stream, 8)
    components, depth = struct.unpack_from(">HB", stream, 40)
    width, height, bits = right - left, bottom - top, (depth & 127) + 1
    check_size(max(width, 0), max(height, 0), max_pixels)
    if components != 1:
        raise RadiographError(f"JPEG 2000 of {components} components; 1 is accepted", "unsupported-format")
    if depth > 127 or bits > 16:
        kind = f"{bits} signed bits" if depth > 127 else f"{bits} bits"
        raise RadiographError(f"JPEG 2000 of {kind}; 1 to 16 unsigned ones are accepted", "unsupported-format")
    check_jpeg2000(stream, height, width)
    grey = _decode(stream, bits)
    if grey.pixels.shape != (height, width):
        raise RadiographError(DAMAGED)
    return Radiograph(grey.pixels, "JPEG 2000", bits, checks=grey.checks)


def _decode(stream: bytes, bits: int) -> Grey:
    """Decode a codestream that was found to be of reasonable cost; fewer bits than 8 or 16 are scaled to them."""
    with Image.open(io.BytesIO(stream), formats=("JPEG2000",)) as image:
        image.load()
        if bits <= 8:
            return Grey(np.asarray(image.convert("L")))
        return from_deep(np.asarray(image, np.uint16), 16 if bits < 16 else None)


def _unboxed(data: bytes) -> bytes:
    """Return the codestream of a JP2 file (ISO 15444-1, annex I); refuse a palette, of which it holds the indices."""
    place = 0
    stream = b""
    for _ in range(MAX_BOXES):
        if place >= len(data):
            break
        length, name = struct.unpack_from(">L4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = place + length if length else len(data)
        if end < start:
            break
        if name == b"jp2h":
            end = start  # go into it
        elif name == b"pclr":
            raise RadiographError("JPEG 2000 with a palette; grey is accepted", "unsupported-format")
        elif name == b"jp2c" and not stream:
            stream = data[start:end]
        place = end
    if not stream.startswith(CODESTREAM):
        raise RadiographError(DAMAGED)
    return stream
