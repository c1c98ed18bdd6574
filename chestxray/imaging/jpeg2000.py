"""Decode a JPEG 2000 still: a codestream as it is, or in the boxes of a JP2 file."""

import struct

import numpy as np

from chestxray.imaging.dicom.codec_process import decode_in_process
from chestxray.imaging.radiograph import Radiograph, RadiographError
from chestxray.imaging.still import DAMAGED, check_size, from_bits, from_colour

BOXES = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"

START_OF_TILE = 0xFF90
END = 0xFFD9

MAX_BOXES = 1000
MAX_PARTS = 200_000
"""Segments of the main header, and parts of tiles."""


def decode_jpeg2000(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a JPEG 2000 file to grey; colour becomes luma.

    Raises:
        RadiographError: it is of another kind, too large, truncated or damaged.
        OSError, ValueError, struct.error, IndexError: it is damaged.
    """
    stream = codestream_of(data)
    right, bottom, left, top = struct.unpack_from(">LLLL", stream, 8)
    components, depth = struct.unpack_from(">HB", stream, 40)
    width, height, bits = right - left, bottom - top, (depth & 127) + 1
    check_size(max(width, 0), max(height, 0), max_pixels)
    if components not in (1, 3):
        raise RadiographError(f"JPEG 2000 of {components} components; 1 or 3 are accepted", "unsupported-format")
    if depth > 127 or bits > 16 or (components == 3 and bits != 8):
        kind = f"{bits} signed bits" if depth > 127 else f"{bits} bits"
        message = f"JPEG 2000 of {kind}; 1 to 16 unsigned ones of grey, or 8 of colour, are accepted"
        raise RadiographError(message, "unsupported-format")
    check_tiles(stream)
    values = decode_in_process("jpeg-2000", data, height, width, components)
    grey = from_colour(np.asarray(values, np.uint8)) if components == 3 else from_bits(values, bits)
    return Radiograph(grey.pixels, "JPEG 2000", bits, checks=grey.checks)


def check_tiles(stream: bytes) -> None:
    """Check that each tile has a part in a codestream (ISO 15444-1, annex A.4): decoders leave out those that lack.

    Raises:
        RadiographError: a tile lacks, or it is damaged.
        struct.error: it ends too early.
    """
    width, height, _, _, across, down, left, top = struct.unpack_from(">8L", stream, 8)
    if not across or not down:
        raise RadiographError(DAMAGED)
    count = -(-(width - left) // across) * -(-(height - top) // down)
    found = set()
    place = 2
    for _ in range(MAX_PARTS):
        marker, length = struct.unpack_from(">HH", stream, place) if place + 4 <= len(stream) else (END, 0)
        if marker == START_OF_TILE:
            tile, length = struct.unpack_from(">HL", stream, place + 4)
            found.add(tile)
            place += length or len(stream)  # zero says that it is the last
        elif found:
            break
        else:
            place += 2 + length
    if len(found) != count:
        raise RadiographError(f"truncated or damaged: {len(found)} of {count} tiles")


def codestream_of(data: bytes) -> bytes:
    """Return the codestream of a file or frame, which may have the boxes of JP2 around it (ISO 15444-1, annex I).

    Raises:
        RadiographError: there is none, or a palette, of which it holds the indices.
        struct.error: a box ends too early.
    """
    if data.startswith(CODESTREAM):
        return data
    place = 0
    for _ in range(MAX_BOXES):
        length, name = struct.unpack_from(">L4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = place + length if length else len(data)
        if name == b"jp2c" and data.startswith(CODESTREAM, start):
            return data[start:end]
        if name == b"pclr":
            raise RadiographError("JPEG 2000 with a palette; grey is accepted", "unsupported-format")
        if end < start:
            break
        place = start if name == b"jp2h" else end
    raise RadiographError(DAMAGED)
