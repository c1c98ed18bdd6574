"""What a codestream inside a DICOM file claims, before any decoder believes it."""

import struct

from chestxray.radiograph import RadiographError

MAX_TILES = 2048
"""OpenJPEG takes kilobytes for each before it decodes any."""
SEQUENTIAL, LOSSLESS, JPEG_LS = frozenset({0xC0, 0xC1}), frozenset({0xC3}), frozenset({0xF7})
"""Frames of baseline and extended JPEG, of lossless JPEG and of JPEG-LS: one pass over the pixels."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | JPEG_LS
START_OF_SCAN = 0xDA


def check_jpeg(data: bytes, kinds: frozenset[int], rows: int, columns: int) -> int:
    """Checks that a JPEG or JPEG-LS codestream is of one component and the size given (ISO 10918-1, annex B.2).

    Args:
        data: the codestream.
        kinds: markers of the frames that it may have.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        Bits per pixel, as it claims.

    Raises:
        RadiographError: it is not.
        struct.error: it ends too early.
    """
    place, frames = 2, []
    marker = 0xD8 if data[:2] == b"\xff\xd8" else 0
    while marker != START_OF_SCAN:
        start, marker, length = struct.unpack_from(">BBH", data, place)
        if start != 0xFF or length < 2:
            raise RadiographError("truncated or damaged")
        if marker in kinds:
            frames.append(struct.unpack_from(">BHHB", data, place + 4))
        elif marker in FRAMES:
            raise RadiographError("of another kind of JPEG than its transfer syntax")
        place += 2 + length
    if [size for _, *size in frames] != [[rows, columns, 1]]:
        raise RadiographError("truncated or damaged")
    return int(frames[0][0])


def check_jpeg2000(data: bytes, rows: int, columns: int) -> None:
    """Checks that a JPEG 2000 codestream is of one component and the size given (ISO 15444-1, annex A.5.1).

    Raises:
        RadiographError: it is not, or has too many tiles.
        struct.error: it ends too early.
    """
    start, _, _, width, height, left, top, tile_width, tile_height, tile_left, tile_top, components = (
        struct.unpack_from(">LHHLLLLLLLLH", data)
    )
    if start != 0xFF4FFF51 or (height - top, width - left, components) != (rows, columns, 1):
        raise RadiographError("truncated or damaged")
    if not tile_width or not tile_height:
        raise RadiographError("truncated or damaged")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise RadiographError(f"more than {MAX_TILES:,} tiles")
