"""Decode lossless JPEG with Huffman codes and one grey component (ISO 10918-1, process 14, annexes C, F and H).

In NumPy; docs/decisions/dicom-codecs.md says why. Where a code begins is known only when the one before it is read. So
a table gives, for every bit of a block, how far the next code would be if one began there; then that chain alone is
followed one by one.
"""

import re
import struct
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint16]
Places = npt.NDArray[np.intp]
Codes = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""By the next 16 bits: the length of the code that they begin with, the category that it means, and how far the next
code is."""

# Markers of segments.
FRAME = 0xC3
HUFFMAN = 0xC4
SCAN = 0xDA
RESTARTS = 0xDD

BLOCK = 1 << 15
"""Bytes looked at in one go."""
INVALID = 255
"""The length of what is no code."""
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
END = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def decode_lossless_jpeg(data: bytes, rows: int, columns: int) -> Words:
    """Decode a codestream.

    Args:
        data: the codestream; `chestxray.imaging.dicom.codestream.check_jpeg` found it to be of this size.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        uint16, rows × columns.

    Raises:
        ValueError, struct.error, LookupError: it is damaged, or of another process.
    """
    segments, tables, start = _segments(data)
    precision = segments[FRAME][0]
    components, _, table, predictor, _, shift = struct.unpack("6B", segments[SCAN])
    interval = struct.unpack(">H", segments.get(RESTARTS, bytes(2)))[0] or rows * columns
    if components != 1 or table & 15 or not 1 <= predictor <= 7 or shift >= precision or interval % columns:
        raise ValueError("not what process 14 allows")
    codes = _codes(tables[table >> 4])
    end = END.search(data, start)
    parts = RESTART.split(data[start : end.start() if end else len(data)])
    heights = [min(interval // columns, rows - row) for row in range(0, rows, interval // columns)]
    decoded = []
    for part, height in zip(parts, heights, strict=True):
        differences = _differences(part.replace(b"\xff\x00", b"\xff"), codes, height * columns)
        differences[:1] += np.uint16(1 << (precision - shift - 1))
        decoded.append(_predicted(differences.reshape(height, columns), predictor))
    return np.concatenate(decoded) << np.uint16(shift)


def _segments(data: bytes) -> tuple[dict[int, bytes], dict[int, bytes], int]:
    """Read the segments up to the scan.

    Returns:
        Marker → content; class and number → table of codes; where the scan's codes begin.
    """
    place = 2
    found: dict[int, bytes] = {}
    tables: dict[int, bytes] = {}
    while SCAN not in found:
        start, marker, length = struct.unpack_from(">BBH", data, place)
        if start != 0xFF or length < 2:
            raise ValueError("no marker where one should be")
        found[marker] = content = data[place + 4 : place + 2 + length]
        tables |= _tables(content) if marker == HUFFMAN else {}
        place += 2 + length
    return found, tables, place


def _tables(content: bytes) -> dict[int, bytes]:
    """Split a segment into its tables of codes, of which it may have several (annex B.2.4.2)."""
    place = 0
    found: dict[int, bytes] = {}
    while place < len(content):
        end = place + 17 + sum(content[place + 1 : place + 17])
        found[content[place]] = content[place:end]
        place = end
    return found


def _codes(table: bytes) -> Codes:
    """Expand a table of codes (annex C); 16 bits that begin with none have the length `INVALID`."""
    lengths = np.full(1 << 16, INVALID, np.uint8)
    categories = np.zeros(1 << 16, np.uint8)
    symbols = iter(table[17:])
    place = 0
    for bits, count in enumerate(table[1:17], 1):
        for symbol in (next(symbols, INVALID) for _ in range(count)):
            end = place + (1 << (16 - bits))
            if symbol > 16 or end > 1 << 16:
                raise ValueError("no table of codes")
            lengths[place:end] = bits
            categories[place:end] = symbol
            place = end
    return lengths, categories, lengths + np.where(categories == 16, 0, categories)


def _differences(packed: bytes, codes: Codes, count: int) -> Words:
    """Decode the first `count` differences, modulo 2¹⁶ (annexes F.2.2.1 and H.1.2.2)."""
    lengths, categories, steps = codes
    padded = packed + bytes(8)
    place = 0
    found: list[Words] = []
    for start in range(0, len(packed), BLOCK):
        size = min(BLOCK, len(packed) - start)
        octets = np.frombuffer(padded, np.uint8, size + 7, start).astype(np.uint32)
        windows = octets[:-3] << 24 | octets[1:-2] << 16 | octets[2:-1] << 8 | octets[3:]
        ahead = (windows[:size, None] << np.arange(8, dtype=np.uint32) >> 16).astype(np.uint16).ravel()
        places, place = _chain(steps[ahead].tobytes(), place, count)
        count -= len(places)
        begun = ahead[places]
        if (lengths[begun] == INVALID).any() or place > 8 * (len(packed) - start):
            raise ValueError("no code")
        place -= 8 * size
        found.append(_values(windows, places + lengths[begun], categories[begun]))
        if not count:
            return np.concatenate(found)
    raise ValueError("fewer pixels than rows and columns")


def _chain(steps: bytes, place: int, count: int) -> tuple[Places, int]:
    """Return where `count` codes begin from `place` on, or as many as there are, and where the next one does."""
    places: list[int] = []
    end = len(steps)
    while place < end and count:
        places.append(place)
        place += steps[place]
        count -= 1
    return np.array(places, np.intp), place


def _values(windows: npt.NDArray[np.integer[Any]], places: Places, categories: npt.NDArray[np.uint8]) -> Words:
    """Read as many bits as each category says at each place; half of the values mean negative differences."""
    wide = categories.astype(np.int64)
    bits = (windows[places >> 3].astype(np.int64) << (places & 7) & 0xFFFFFFFF) >> (32 - wide)
    values = np.where(bits < 1 << wide >> 1, bits - (1 << wide) + 1, bits)
    return np.where(categories == 16, 1 << 15, values).astype(np.uint16)


def _predicted(differences: Words, predictor: int) -> Words:
    """Add the predictions to the differences (annex H.1.2.1), modulo 2¹⁶; the first has its start already."""
    pixels = np.empty_like(differences)
    np.cumsum(differences[0], dtype=np.uint16, out=pixels[0])
    for row, above, new in zip(differences[1:], pixels[:-1], pixels[1:], strict=True):
        row[:1] += above[:1]
        up = above[1:].astype(np.int32)
        corner = above[:-1].astype(np.int32)
        match predictor:
            case 1 | 4 | 5:
                slope = {1: up - up, 4: up - corner, 5: (up - corner) >> 1}[predictor]
                row[1:] += slope.astype(np.uint16)
                np.cumsum(row, dtype=np.uint16, out=new)
            case 2 | 3:
                new[0] = row[0]
                new[1:] = row[1:] + (above[1:] if predictor == 2 else above[:-1])
            case _:  # halves the pixel to the left
                base = row[1:] + up if predictor == 6 else row[1:]
                other = -corner if predictor == 6 else up
                steps = zip(base.tolist(), other.tolist(), strict=True)
                new[:] = list(accumulate(steps, lambda left, s: s[0] + (left + s[1] >> 1) & 65535, initial=int(row[0])))
    return pixels
