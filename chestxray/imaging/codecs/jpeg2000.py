"""Find the codestream of a JPEG 2000 file or frame, and whether it has all its tiles (ISO 15444-1, annexes A and I)."""

import struct
from collections import Counter

from chestxray.imaging.radiograph import DAMAGED, RadiographError

BOXES = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"

START_OF_TILE = 0xFF90
END = 0xFFD9

MAX_BOXES = 1000
MAX_PARTS = 200_000
"""Segments of the main header, and parts of tiles."""


def check_tiles(stream: bytes) -> None:
    """Check that a codestream has all parts of all tiles (ISO 15444-1, annex A.4): decoders leave out those that lack.

    Raises:
        RadiographError: a tile lacks, or it is damaged.
        struct.error: it ends too early.
    """
    width, height, _, _, across, down, left, top = struct.unpack_from(">8L", stream, 8)
    if not across or not down:
        raise RadiographError(DAMAGED)
    count = -(-(width - left) // across) * -(-(height - top) // down)
    parts = Counter[int]()
    promised = Counter[int]()
    place = 2
    for _ in range(MAX_PARTS):
        marker, length = struct.unpack_from(">HH", stream, place) if place + 4 <= len(stream) else (END, 0)
        if marker == START_OF_TILE:
            tile, length, parts_of_tile = struct.unpack_from(">HLxB", stream, place + 4)
            parts[tile] += 1
            promised[tile] = max(promised[tile], parts_of_tile)  # zero says nothing
            place += length or len(stream)  # zero says that it is the last
        elif parts:
            break
        else:
            place += 2 + length
    if len(parts) != count:
        raise RadiographError(f"truncated or damaged: {len(parts)} of {count} tiles")
    if any(parts[tile] < number for tile, number in promised.items()):
        raise RadiographError("truncated: parts of a tile lack")


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
