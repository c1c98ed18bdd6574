"""Read the markers of a JPEG, and decode it only if all of it is there.

libjpeg fills what is missing with grey and only warns, so its warnings are errors here; what it does not warn of is
counted from the markers. See docs/decisions/still-images.md.
"""

import re
import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import simplejpeg

from chestxray.imaging.radiograph import MAX_PIXELS, Radiograph, RadiographError
from chestxray.imaging.still import DAMAGED, Grey, check_size, from_colour, upright

START = b"\xff\xd8"
END = b"\xff\xd9"
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""In coded data, where a zero follows an FF that is none, and between segments; not those of restarts."""

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
START_OF_IMAGE = 0xD8
APP_1 = 0xE1
ADOBE = 0xEE
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
KINDS = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
"""Of Huffman codes and 8 bits. In an arithmetic one nobody could tell that data are missing."""
CHANNELS = {1: "GRAY", 3: "RGB", 4: "CMYK"}

# What a file may cost; see docs/decisions/untrusted-images.md.
MAX_SCANS = 100
"""A progressive one has about ten."""
MAX_SCANNED = 16 * MAX_PIXELS
"""Pixels that all scans go over together."""
MAX_SEGMENTS = 10_000


@dataclass
class JpegHeader:
    """What the markers of a JPEG say.

    Attributes:
        width: in pixels.
        height: in pixels.
        components: how many channels the file has.
        scans: how many times the file goes over the pixels.
        adobe: whether Adobe's segment is there, with which four channels are stored inverted.
        exif: the first block of EXIF.
        ended: whether the end is marked.
        missing: for each component, the bit of each of its 64 coefficients that still lacks; 255 before its first scan.
    """

    width: int = 0
    height: int = 0
    components: int = 0
    scans: int = 0
    adobe: bool = False
    exif: bytes | None = None
    ended: bool = False
    missing: dict[int, bytearray] = field(default_factory=dict)


def read_header(data: bytes) -> JpegHeader:
    """Read all markers of a JPEG, to its end, in time that grows with its length.

    Raises:
        RadiographError: it is no JPEG of Huffman codes and 8 bits, is damaged, or has too many segments or scans.
    """
    header = JpegHeader()
    place = len(START) if data.startswith(START) else len(data)
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(data, place)
        if found is None:
            return header
        marker = data[found.end() - 1]
        if marker == END_OF_IMAGE:
            header.ended = True
            return header
        if marker == START_OF_IMAGE or found.end() + 2 > len(data):
            raise RadiographError(DAMAGED)
        (length,) = struct.unpack_from(">H", data, found.end())
        place = found.end() + length
        _read_segment(header, marker, data[found.end() + 2 : place])
    raise RadiographError(f"a JPEG of more than {MAX_SEGMENTS:,} segments")


def _read_segment(header: JpegHeader, marker: int, segment: bytes) -> None:
    """Note what a segment says; `segment` is without its length."""
    if marker in FRAMES:
        _read_frame(header, marker, segment)
    elif marker == START_OF_SCAN:
        _read_scan(header, segment)
    elif marker == APP_1 and header.exif is None and segment.startswith(b"Exif\0\0"):
        header.exif = segment
    elif marker == ADOBE and segment.startswith(b"Adobe"):
        header.adobe = True


def _read_frame(header: JpegHeader, marker: int, frame: bytes) -> None:
    if header.missing or len(frame) < 6:
        raise RadiographError(DAMAGED)
    if marker not in KINDS:
        kind = "a lossless" if marker == 0xC3 else "an arithmetic-coded" if marker > 0xC8 else "a hierarchical"
        raise RadiographError(f"{kind} JPEG; baseline and progressive ones are accepted", "unsupported-format")
    bits, header.height, header.width, header.components = struct.unpack_from(">BHHB", frame)
    if bits != 8:
        raise RadiographError(f"a JPEG of {bits} bits; 8 are accepted", "unsupported-format")
    if header.components not in CHANNELS:
        raise RadiographError(f"a JPEG of {header.components} channels; 1, 3 or 4 are accepted", "unsupported-format")
    names = frame[6 : 6 + 3 * header.components : 3]
    header.missing = {name: bytearray(b"\xff" * 64) for name in names}
    if len(header.missing) != header.components:
        raise RadiographError(DAMAGED)


def _read_scan(header: JpegHeader, scan: bytes) -> None:
    """Note which bits of which coefficients a scan brings (ISO 10918-1, B.2.3); a sequential one brings all."""
    header.scans += 1
    if header.scans > MAX_SCANS or header.scans * header.width * header.height > MAX_SCANNED:
        raise RadiographError("a JPEG of too many scans")
    names = scan[1 : 1 + 2 * scan[0] : 2] if scan else b""
    if len(scan) != 4 + 2 * len(names) or not names or not header.missing.keys() >= set(names):
        raise RadiographError(DAMAGED)
    first, last, bits = scan[-3:]
    for name in names:
        header.missing[name][first : last + 1] = bytes([bits & 15]) * (min(last, 63) + 1 - first)


def decode_complete(data: bytes, header: JpegHeader) -> npt.NDArray[np.uint8]:
    """Decode a JPEG of which no row, no scan and no bit is missing.

    Args:
        data: the whole file; what follows its end does not count, and its end need not be marked.
        header: as `read_header` gave it.

    Returns:
        Height × width × 1 of grey, 3 of red, green, blue or 4 of CMYK, as it is stored.

    Raises:
        RadiographError: something is missing or damaged.
    """
    if not header.missing or any(any(lacking) for lacking in header.missing.values()):
        raise RadiographError(DAMAGED)
    whole = data if header.ended else data + END
    try:
        return np.asarray(simplejpeg.decode_jpeg(whole, CHANNELS[header.components]), np.uint8)
    except ValueError as error:
        # Some encoders pad the data; the first warning is the one told, so nothing else was amiss before the end.
        if not str(error).endswith("extraneous bytes before marker 0xd9"):
            raise RadiographError(DAMAGED) from error
    return np.asarray(simplejpeg.decode_jpeg(whole, CHANNELS[header.components], strict=False), np.uint8)


def decode_jpeg(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a JPEG file to grey; colour becomes luma, and EXIF orientation is applied.

    Raises:
        RadiographError: it is of another kind, too large, truncated or damaged.
    """
    header = read_header(data)
    check_size(header.width, header.height, max_pixels)
    values = decode_complete(data, header)
    if header.components == 1:
        grey = Grey(values[..., 0])
    elif header.components == 3:
        grey = from_colour(values)
    else:
        grey = from_colour(np.invert(values, out=values) if header.adobe else values, "CMYK")
    return Radiograph(upright(grey.pixels, header.exif), "JPEG", 8, checks=grey.checks)
