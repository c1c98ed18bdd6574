"""Find the parts of a JPEG codestream, and tell whether it has all the pixels that it promises (ISO 10918-1, annex B).

libjpeg fills what lacks with grey and only warns, which no Python package passes on: docs/decisions/dicom-codecs.md.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chestxray.imaging.radiograph import DAMAGED, RadiographError

START_OF_IMAGE = b"\xff\xd8"
END_OF_IMAGE = 0xD9
START_OF_SCAN = 0xDA
RESTART_INTERVAL = 0xDD
JPEG_LS = 0xF7
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {JPEG_LS}
"""Markers of frames (SOF0–SOF15), and that of JPEG-LS."""

PROGRESSIVE = 0xC2
TABLES = frozenset({0xC4, 0xDB})
"""Markers of Huffman and quantisation tables."""

BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""

MAX_SEGMENTS = 10_000
"""Colour profiles and other metadata take some hundreds; a scan counts as one, whatever its restart markers."""

MAX_FILL = 10_000
"""Fill bytes before markers, which hardly any file has."""

MAX_RESTARTS = 100_000
"""Restart markers, which are as often in a scan as it has rows of blocks, or few times as often."""

FILL = re.compile(rb"\xff+")
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What ends the entropy-coded data of a scan: neither a stuffed zero nor a restart marker nor a fill byte."""

RESTART = re.compile(rb"\xff[\xd0-\xd7]")
NOISE = bytes(np.random.default_rng(0).integers(255, size=512, dtype=np.uint8))
"""Entropy-coded data of no meaning."""

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Jpeg:
    """The parts of a JPEG or JPEG-LS codestream.

    Attributes:
        frame: marker of its frame: 0xC0 baseline, 0xC1 extended, 0xC2 progressive, 0xC3 lossless, 0xF7 JPEG-LS.
        bits: of a value.
        rows: height in pixels.
        columns: width in pixels.
        components: 1 if grey, 3 if colour.
        restarts: whether it has restart intervals.
        scans: where the entropy-coded data of each scan begin and end; of JPEG-LS, whose decoder is strict, all in one.
        segments: marker and content of all segments, in order, but the tables.
    """

    frame: int
    bits: int
    rows: int
    columns: int
    components: int
    restarts: bool
    scans: tuple[tuple[int, int], ...]
    segments: tuple[tuple[int, bytes], ...]


def read_jpeg(data: bytes) -> Jpeg:
    """Find the parts of a codestream; what follows its end is not looked at.

    Raises:
        RadiographError: it is damaged, ends without an end marker, or has more segments, fill bytes or restart markers
            than are accepted.
    """
    if data[:2] != START_OF_IMAGE:
        raise RadiographError(DAMAGED)
    segments: list[tuple[int, bytes]] = []
    scans: list[tuple[int, int]] = []
    restarts = False
    place = 2
    fill = 0
    for _ in range(MAX_SEGMENTS):
        before = place
        marker, place = _marker(data, before)
        fill += place - before - 2
        if fill > MAX_FILL:
            raise RadiographError(f"the JPEG has more than {MAX_FILL:,} fill bytes; up to as many are accepted")
        if marker == END_OF_IMAGE:
            return _jpeg(data, segments, restarts, scans)
        if marker in BARE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        content = data[place + 2 : place + length]
        if length < 2 or len(content) != length - 2:
            raise RadiographError(DAMAGED)
        place += length
        if marker not in TABLES:
            segments.append((marker, content))
        if marker == RESTART_INTERVAL:
            restarts |= any(content)
        elif marker == START_OF_SCAN:
            if any(name == JPEG_LS for name, _ in segments):
                return _jpeg(data, segments, restarts, [(place, _end_of_jpeg_ls(data, place))])
            scans.append((place, _end_of_scan(data, place)))
            place = scans[-1][1]
    raise RadiographError(f"the JPEG has more than {MAX_SEGMENTS:,} segments; up to as many are accepted")


def _marker(data: bytes, place: int) -> tuple[int, int]:
    """Return the marker here, after any number of fill bytes (B.1.1.2), and the place after it."""
    fill = FILL.match(data, place)
    if fill is None or fill.end() == len(data):
        raise RadiographError(DAMAGED)
    return data[fill.end()], fill.end() + 1


def _end_of_scan(data: bytes, place: int) -> int:
    marker = MARKER.search(data, place)
    if marker is None:
        raise RadiographError("truncated: the JPEG has no end marker")
    return marker.start()


def _end_of_jpeg_ls(data: bytes, place: int) -> int:
    """Find the end marker, which no data contain (ISO 14495-1, A.1); CharLS may look for it for ever."""
    end = data.rfind(bytes([0xFF, END_OF_IMAGE]), place)
    if end < 0:
        raise RadiographError("truncated: the JPEG-LS has no end marker")
    return end


def _jpeg(data: bytes, segments: list[tuple[int, bytes]], restarts: bool, scans: list[tuple[int, int]]) -> Jpeg:
    frames = [(marker, content) for marker, content in segments if marker in FRAMES]
    if len(frames) != 1 or len(frames[0][1]) < 6 or not scans:
        raise RadiographError(DAMAGED)
    marker, content = frames[0]
    bits, rows, columns, components = struct.unpack_from(">BHHB", content)
    if marker != JPEG_LS:
        _check_restarts(data, scans, rows, columns)
    return Jpeg(marker, bits, rows, columns, components, restarts, tuple(scans), tuple(segments))


def _check_restarts(data: bytes, scans: list[tuple[int, int]], rows: int, columns: int) -> None:
    """Refuse more restart markers than a marker for each block, or for each row of a lossless codestream, is."""
    most = min(MAX_RESTARTS, len(scans) * (rows * columns // 64 + rows + columns))
    found = sum(data.count(bytes([0xFF, name]), start, end) for start, end in scans for name in range(0xD0, 0xD8))
    if found > most:
        raise RadiographError(f"the JPEG has {found:,} restart markers; up to {most:,} are accepted for its size")


def check_complete(data: bytes, pixels: Values, decode: Callable[[bytes], Values]) -> None:
    """Refuse a codestream whose last rows are libjpeg's grey, since it ends before they do.

    Where data end too early, libjpeg gives mid grey up to the last pixel. If that is what the last pixel is, or if the
    codestream has several scans or restart intervals, each of which might end early, it is decoded again with noise
    appended to each of them: a decoder does not look at what comes after the last pixel, so pixels stay the same if
    none of them lacks. What lacks of the last block alone is not found: 8 × 8 pixels, 16 × 16 in colour.

    Args:
        data: the codestream.
        pixels: what it decodes to, rows × columns or rows × columns × components, as libjpeg gives them.
        decode: returns the pixels of a codestream, in the same way.

    Raises:
        RadiographError: pixels lack.
        Exception: of any kind, from `decode`.
    """
    jpeg = read_jpeg(data)
    _check_scans(jpeg)
    grey = bool(np.all(pixels[-1, -1] == 1 << (jpeg.bits - 1)))
    doubtful = grey or jpeg.restarts or len(jpeg.scans) > 1 or jpeg.components > 3  # which may be inverted
    if doubtful and not np.array_equal(pixels, decode(_with_noise(data, jpeg))):
        raise RadiographError("truncated: the JPEG has fewer pixels than its header says")


def _check_scans(jpeg: Jpeg) -> None:
    """Refuse a codestream without the scans of a component, or of a bit of a progressive one's coefficients (G.1)."""
    frame = next(content for marker, content in jpeg.segments if marker in FRAMES)
    missing = {name: bytearray(b"\xff" * 64) for name in frame[6 : 6 + 3 * jpeg.components : 3]}
    for scan in (content for marker, content in jpeg.segments if marker == START_OF_SCAN):
        names = scan[1 : 1 + 2 * scan[0] : 2] if scan else b""
        if len(scan) != 4 + 2 * len(names) or not missing.keys() >= set(names):
            raise RadiographError(DAMAGED)
        first, last, bit = scan[-3], min(scan[-2], 63), scan[-1] & 15
        for name in names:
            if jpeg.frame == PROGRESSIVE and first <= last:
                missing[name][first : last + 1] = bytes([bit]) * (last + 1 - first)
            elif jpeg.frame != PROGRESSIVE:
                missing[name] = bytearray(64)
    if any(map(any, missing.values())):
        raise RadiographError("truncated: some of its scans are missing")


def _with_noise(data: bytes, jpeg: Jpeg) -> bytes:
    """Append noise to the data of each scan and of each restart interval, and to each scan an interval of noise."""
    parts = []
    last = 0
    for start, end in jpeg.scans:
        scan, restarts = RESTART.subn(lambda marker: NOISE + marker[0], data[start:end])
        parts += [data[last:start], scan, NOISE, bytes([0xFF, 0xD0 + restarts % 8]), NOISE]
        last = end
    return b"".join([*parts, data[last:]])
