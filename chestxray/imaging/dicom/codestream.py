"""What a codestream inside a DICOM file claims, before any decoder believes it."""

import struct

from chestxray.imaging.radiograph import RadiographError

MAX_TILES = 2048
"""OpenJPEG takes kilobytes for each before it decodes any."""
SEQUENTIAL, LOSSLESS, JPEG_LS = frozenset({0xC0, 0xC1}), frozenset({0xC3}), frozenset({0xF7})
"""Frames of baseline and extended JPEG, of lossless JPEG and of JPEG-LS: one pass over the pixels."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | JPEG_LS
START_OF_SCAN = 0xDA
MAX_PRECINCTS, MAX_BLOCKS, MAX_PACKETS, MAX_SEGMENTS = 1 << 16, 1 << 18, 1 << 20, 1 << 16
"""Of JPEG 2000. OpenJPEG takes half a kilobyte for each before it reads any; 40 megapixels have 9,766 blocks of
64 × 64, as encoders make them."""
CODING_STYLE, START_OF_TILE, START_OF_DATA, END_OF_CODESTREAM = b"\xff\x52", b"\xff\x90", b"\xff\x93", b"\xff\xd9"
OTHER_SEGMENTS = frozenset(bytes([0xFF, low]) for low in b"\x50\x51\x55\x57\x58\x5c\x5d\x5e\x5f\x60\x61\x63\x64")
"""All of ISO 15444-1, annex A.2, but that of a component, for which there is no need if it is the only one."""


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
    """Checks that a JPEG 2000 codestream is of one component and the size given (ISO 15444-1, annex A).

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
    """How many parts it takes."""
    return -(-size // part)


def _coding_style(data: bytes) -> bytes:
    """What the main header says; that a tile or the component says something else is refused."""
    place, end_of_part, style = 2, 0, b""
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
    """Counts precincts and code blocks (annexes A.6.1 and B.6, B.7), of tiles as if each began in the origin."""
    by_precincts, layers, levels, *exponents = struct.unpack_from(">BxHxBBB", style)
    sizes = style[10 : 11 + levels] if by_precincts & 1 else b"\xff" * (levels + 1)
    precincts = blocks = 0
    for resolution in range(levels + 1):
        high = int(resolution > 0)  # three bands, each of half the size
        across, down = sizes[resolution] & 15, sizes[resolution] >> 4
        if min(across, down) < high:
            raise RadiographError("truncated or damaged")
        columns, rows = (_ceil(side, 1 << (levels - resolution)) for side in (width, height))
        precincts += _ceil(columns, 1 << across) * _ceil(rows, 1 << down)
        block = [1 << min(e + 2, size - high) for e, size in zip(exponents, (across, down), strict=True)]
        blocks += (1 + 2 * high) * _ceil(_ceil(columns, 1 + high), block[0]) * _ceil(_ceil(rows, 1 + high), block[1])
    if tiles * precincts > MAX_PRECINCTS or tiles * blocks > MAX_BLOCKS or tiles * precincts * layers > MAX_PACKETS:
        raise RadiographError("divided into more precincts, code blocks or packets than any radiograph needs")
