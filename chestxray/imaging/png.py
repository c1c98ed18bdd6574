"""Decode a PNG of which no row is missing.

Decoders see no other chunks than those of the pixels: what the others cost or do is no matter then. See
docs/decisions/still-images.md.
"""

import io
import struct
import zlib
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from chestxray.imaging import still
from chestxray.imaging.codecs.process import decode_in_process
from chestxray.imaging.codecs.worker import Codec
from chestxray.imaging.radiograph import DAMAGED, Radiograph, RadiographError
from chestxray.imaging.still import Grey

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = 0
PALETTE = 3
CHANNELS = {GREY: 1, 2: 3, PALETTE: 1, 4: 2, 6: 4}
"""How many there are, by the type of colour."""

DEPTHS = {GREY: (1, 2, 4, 8, 16), 2: (8, 16), PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Which are allowed, by the type of colour (PNG specification, 11.2.2)."""

CODECS: dict[tuple[int, int], Codec] = {(GREY, 8): "png-8", (GREY, 16): "png-16", (2, 8): "png-rgb", (6, 8): "png-rgba"}
"""What kornia-rs may decode, by type of colour and depth: of a palette, for example, it may give the indices."""

MAX_CHUNKS = 100_000
MAX_TWICE = 10_000_000
"""Pixels that kornia-rs may decode, which holds the codestream twice; it keeps Python's lock, so it is in a process."""
PIECE = 2**16
"""Bytes inflated at a time, to count them."""

ADAM_7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, rows apart and columns apart of each pass of an interlaced file."""


@dataclass
class PngChunks:
    """What the chunks of a PNG say, and those that are needed to decode it.

    Attributes:
        width: in pixels.
        height: in pixels.
        depth: bits per channel.
        colour: type of colour (PNG specification, 11.2.1).
        interlaced: whether by Adam7.
        head: the chunks before the data, as they are.
        data: of the data chunks, whole with length, name and checksum.
        colours: entries of the palette, of a file that has one.
        significant: bits of a channel, if the file tells (`sBIT`).
        exif: a block of EXIF, if there is one.
    """

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    head: list[memoryview]
    data: list[memoryview] = field(default_factory=list)
    colours: int = 0
    significant: int | None = None
    exif: bytes | None = None

    def bytes_of_pixels(self) -> int:
        """Return how many bytes the data inflate to, with one for each row."""
        pixel = self.depth * CHANNELS[self.colour]
        passes = ADAM_7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for top, left, down, across in passes:
            rows, columns = -(-(self.height - top) // down), -(-(self.width - left) // across)
            total += rows * (1 + -(-columns * pixel // 8)) if rows > 0 and columns > 0 else 0
        return total

    def bare(self) -> list[bytes | memoryview]:
        """Return the parts of the file without anything but its pixels; a copy of all would be large."""
        return [SIGNATURE, *self.head, *self.data, chunk(b"IEND", b"")]


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def read_chunks(data: bytes) -> PngChunks:
    """Read the chunks of a PNG up to its end; they may end early, but none may be cut.

    Raises:
        RadiographError: there is no header, or too many chunks, or one is cut.
        struct.error: one is too short.
    """
    view = memoryview(data)
    width, height, depth, colour, method, interlaced = struct.unpack_from(">IIBBHB", data, len(SIGNATURE) + 8)
    place = len(SIGNATURE) + 25
    ordinary = depth in DEPTHS.get(colour, ()) and method == 0 and interlaced <= 1
    if data[len(SIGNATURE) :][:8] != b"\0\0\0\x0dIHDR" or not ordinary:
        raise RadiographError(DAMAGED)
    png = PngChunks(width, height, depth, colour, bool(interlaced), [view[len(SIGNATURE) : place]])
    for _ in range(MAX_CHUNKS):
        if place == len(data):
            return png
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if name == b"IEND":
            return png
        if end > len(data) or name == b"IHDR":
            raise RadiographError(DAMAGED)
        if name == b"IDAT":
            png.data.append(view[place:end])
        elif name == b"PLTE" and colour == PALETTE:
            if png.colours or not 3 <= length <= 3 * 256 or length % 3:
                raise RadiographError(DAMAGED)
            png.head.append(view[place:end])
            png.colours = length // 3
        elif name == b"sBIT" and length:
            png.significant = data[place + 8]
        elif name == b"eXIf":
            png.exif = data[place + 8 : end - 4]
        place = end
    raise RadiographError(f"a PNG of more than {MAX_CHUNKS:,} chunks; up to as many are accepted")


def decode_png(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a PNG file to grey; colour becomes luma, transparency is dropped, EXIF orientation is applied.

    Raises:
        RadiographError: it is too large, truncated or damaged.
        OSError, SyntaxError, ValueError, struct.error: it is damaged.
    """
    png = read_chunks(data)
    still.check_size(png.width, png.height, max_pixels)
    codec = None if png.interlaced or png.width * png.height > MAX_TWICE else CODECS.get((png.colour, png.depth))
    grey = _decode_any(png) if codec is None else _decode_plain(png, codec)
    pixels = still.upright(grey.pixels, png.exif)
    return Radiograph(pixels, "PNG", png.depth, checks=grey.checks, turned=pixels is not grey.pixels)


def _decode_plain(png: PngChunks, codec: Codec) -> Grey:
    """Decode with kornia-rs, which checks that all rows are there."""
    values = decode_in_process(codec, png.bare(), png.height, png.width, 1 if png.colour == GREY else 3)
    if png.depth == 16:
        return _from_deep(png, np.asarray(values, np.uint16))
    levels = np.asarray(values, np.uint8)
    return Grey(levels) if levels.ndim == 2 else still.from_colour(levels)


def _decode_any(png: PngChunks) -> Grey:
    """Decode a PNG of any kind, after counting its rows: decoders give black for those that are missing.

    Of 16 bits, Pillow keeps the upper byte of colours, and holds grey three times; of a palette, it gives black for the
    entries that are missing.
    """
    tidy = _check_complete(png)
    if png.depth == 16:
        return _decode_deep(png, tidy)
    with Image.open(io.BytesIO(b"".join(png.bare())), formats=("PNG",)) as image:
        image.load()
        if png.colour == PALETTE and int(np.max(np.asarray(image))) >= png.colours:
            raise RadiographError(DAMAGED)
        return still.from_image(image)


def _decode_deep(png: PngChunks, tidy: bool) -> Grey:
    """Decode 16 bits with libpng, in the other process, which has no standard error: libpng writes there what is odd.

    If nothing is, large grey is decoded here, where it is held once.
    """
    if png.colour == GREY and tidy and not png.interlaced:
        try:
            return _from_deep(png, np.asarray(imagecodecs.png_decode(b"".join(png.bare())), np.uint16))
        except RuntimeError as error:  # imagecodecs'
            raise RadiographError(DAMAGED) from error
    if png.colour == GREY:
        values = decode_in_process("png-any-16", png.bare(), png.height, png.width)
        return _from_deep(png, np.asarray(values, np.uint16))
    still.check_size(png.width, png.height, still.MAX_DEEP_COLOUR)
    values = decode_in_process("png-any-16", png.bare(), png.height, png.width, 4)
    return still.from_deep_colour(np.asarray(values, np.uint16).reshape(png.height, png.width, -1))


def _from_deep(png: PngChunks, values: npt.NDArray[np.uint16]) -> Grey:
    if png.significant is not None and 8 <= png.significant <= 16:
        return still.from_declared(values, png.significant)
    return still.from_deep(values)


def _check_complete(png: PngChunks) -> bool:
    """Check the checksums of the chunks, and that their data inflate to as many bytes as there should be, or more.

    Returns:
        Whether they end there, as they should.
    """
    missing = png.bytes_of_pixels()
    inflater = zlib.decompressobj()
    follows = False
    try:
        for part in (*png.head, *png.data):
            if zlib.crc32(part[4:-4]) != int.from_bytes(part[-4:], "big"):
                raise RadiographError(DAMAGED)
        for part in png.data:
            compressed: bytes | memoryview = part[8:-4]
            follows |= inflater.eof
            while compressed and missing >= 0 and not inflater.eof:
                missing -= len(inflater.decompress(compressed, PIECE))
                compressed = inflater.unconsumed_tail
        missing -= len(inflater.flush()) if missing > 0 else 0
    except zlib.error as error:
        if missing > 0:
            raise RadiographError(DAMAGED) from error
        return False
    if missing > 0:
        raise RadiographError(DAMAGED)
    return missing == 0 and inflater.eof and not inflater.unused_data and not follows
