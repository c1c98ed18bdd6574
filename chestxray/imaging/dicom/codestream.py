"""Check the header of a JPEG, JPEG-LS or JPEG 2000 codestream before a decoder trusts it.

The limits are explained in docs/decisions/dicom-codecs.md.
"""

import struct

from chestxray.imaging.radiograph import RadiographError

# Markers of the frames of JPEG that go over the pixels once.
SEQUENTIAL = frozenset({0xC0, 0xC1})
"""Baseline and extended."""
LOSSLESS = frozenset({0xC3})
JPEG_LS = frozenset({0xF7})

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | JPEG_LS
"""Markers of all frames of JPEG."""
START_OF_SCAN = 0xDA

# Of JPEG 2000: what OpenJPEG reserves memory for before it decodes anything.
MAX_TILES = 2048
MAX_PRECINCTS = 1 << 16
MAX_BLOCKS = 1 << 18
MAX_PACKETS = 1 << 20
MAX_SEGMENTS = 1 << 16

CODING_STYLE = b"\xff\x52"
START_OF_TILE = b"\xff\x90"
START_OF_DATA = b"\xff\x93"
END_OF_CODESTREAM = b"\xff\xd9"
OTHER_SEGMENTS = frozenset(bytes([0xFF, low]) for low in b"\x50\x51\x55\x57\x58\x5c\x5d\x5e\x5f\x60\x61\x63\x64")
"""Of JPEG 2000, all of ISO 15444-1, annex A.2, but those of one component, which a single component does not need."""


def check_jpeg(data: bytes, kinds: frozenset[int], rows: int, columns: int) -> int:
    """Check that a JPEG or JPEG-LS codestream is of one component and the size given (ISO 10918-1, annex B.2).

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
    place = 2
    frames = []
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
    """Check that a JPEG 2000 codestream is of one component and the size given (ISO 15444-1, annex A).

    Args:
        data: the codestream.
        rows: height in pixels.
        columns: width in pixels.

    Raises:
        RadiographError: it is not, or has too many tiles, or is divided into too many parts.
        struct.error, IndexError: it ends too early.
    """
    start, _, _, width, height, left, top, tile_width, tile_height, tile_left, tile_top, components = (
        struct.unpack_from(">LHHLLLLLLLLH", data)
    )
    if start != 0xFF4FFF51 or (height - top, width - left, components) != (rows, columns, 1):
        raise RadiographError("truncated or damaged")
    if not tile_width or not tile_height:
        raise RadiographError("truncated or damaged")
    tiles = _ceil(width - tile_left, tile_width) * _ceil(height - tile_top, tile_height)
    if tiles > MAX_TILES:
        raise RadiographError(f"more than {MAX_TILES:,} tiles")
    _check_parts(_coding_style(data), tiles, min(tile_width, columns), min(tile_height, rows))


def _ceil(size: int, part: int) -> int:
    """Return how many parts it takes to cover the size."""
    return -(-size // part)


def _coding_style(data: bytes) -> bytes:
    """Return the coding style of the main header; refuse one that a tile or the component has for itself."""
    place = 2
    end_of_part = 0
    style = b""
    for _ in range(MAX_SEGMENTS):
        marker = data[place : place + 2]
        if marker in (END_OF_CODESTREAM, b""):
            return style
        if marker == START_OF_DATA and end_of_part >= place + 2:
            place = end_of_part
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker == START_OF_TILE:
            (size,) = struct.unpack_from(">L", data, place + 6)
            end_of_part = place + size if size else len(data)  # zero says that it is the last
        elif marker == CODING_STYLE and not style and not end_of_part:
            style = data[place + 4 : place + 2 + length]
        elif marker not in OTHER_SEGMENTS:
            raise RadiographError("of a JPEG 2000 codestream with segments that are not supported, or damaged")
        place += 2 + length
    raise RadiographError(f"more than {MAX_SEGMENTS:,} segments")


def _check_parts(style: bytes, tiles: int, width: int, height: int) -> None:
    """Check how many precincts, code blocks and packets there are, if each tile began at the origin (B.6, B.7)."""
    by_precincts, layers, levels, *exponents = struct.unpack_from(">BxHxBBB", style)  # annex A.6.1
    sizes = style[10 : 11 + levels] if by_precincts & 1 else b"\xff" * (levels + 1)
    precincts = blocks = 0
    for resolution in range(levels + 1):
        high = int(resolution > 0)  # three bands, each of half the size
        across = sizes[resolution] & 15
        down = sizes[resolution] >> 4
        if min(across, down) < high:
            raise RadiographError("truncated or damaged")
        columns = _ceil(width, 1 << (levels - resolution))
        rows = _ceil(height, 1 << (levels - resolution))
        precincts += _ceil(columns, 1 << across) * _ceil(rows, 1 << down)
        block = [1 << min(e + 2, size - high) for e, size in zip(exponents, (across, down), strict=True)]
        blocks += (1 + 2 * high) * _ceil(_ceil(columns, 1 + high), block[0]) * _ceil(_ceil(rows, 1 + high), block[1])
    if tiles * precincts > MAX_PRECINCTS or tiles * blocks > MAX_BLOCKS or tiles * precincts * layers > MAX_PACKETS:
        raise RadiographError("divided into more precincts, code blocks or packets than any radiograph needs")
