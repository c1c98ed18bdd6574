"""Decode a TIFF of one page, of the kinds that grey images are kept in, of which no row is missing.

libtiff is not trusted with strangers' files, and Pillow gives 16 bits inverted where zero is white; so this reads the
directory itself (TIFF 6.0, sections 2 to 15) and decodes each strip or tile to exactly as many bytes as it should have.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt

from chestxray.imaging.codecs.jpeg import START_OF_IMAGE, read_jpeg
from chestxray.imaging.jpeg import check_cost, decode_complete
from chestxray.imaging.radiograph import DAMAGED, Radiograph, RadiographError
from chestxray.imaging.still import MAX_DEEP_COLOUR, Grey, check_size, from_colour, from_deep_colour, turned

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

# Tags.
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR, PREDICTOR = 273, 274, 277, 278, 279, 284, 317
COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES, SAMPLE_FORMAT, JPEG_TABLES = (
    320, 322, 323, 324, 325, 339, 347,
)  # fmt: skip

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Of either byte order; the last two are those of BigTIFF."""

TYPES = {1: "B", 3: "H", 4: "L", 7: "B"}
"""Of the values of those tags, for `struct`."""

WANTED = frozenset(
    {
        WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP,
        STRIP_SIZES, PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES, SAMPLE_FORMAT,
        JPEG_TABLES,
    }
)  # fmt: skip

# What a file may cost; see docs/decisions/untrusted-images.md.
MAX_PARTS = 400_000
"""Strips or tiles: the values of the tags that say where they are."""
MAX_JPEGS = 10_000
"""Strips or tiles that are each a JPEG."""
MAX_VALUES = 4096
"""Of any other tag: a palette has 768, the tables of a JPEG have some hundreds of bytes."""

# Photometric interpretations.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6

JPEG = 7
DECOMPRESS: dict[int, Callable[[bytes, int], bytes]] = {
    1: lambda data, size: data[:size],
    5: lambda data, size: bytes(imagecodecs.lzw_decode(data, out=size)),
    8: lambda data, size: zlib.decompressobj().decompress(data, size),
    32773: lambda data, size: bytes(imagecodecs.packbits_decode(data, out=size)),
    32946: lambda data, size: zlib.decompressobj().decompress(data, size),
}
"""By the number of the compression: none, LZW, deflate, PackBits, deflate as it was called first."""

PREDICTED = (5, 8, 32946)
"""Compressions of which the pixels may be stored as differences from their neighbours."""


@dataclass(frozen=True)
class Page:
    """A page: its tags, and the file that they are of."""

    data: bytes
    order: str
    tags: dict[int, tuple[int, ...]]

    def one(self, tag: int, default: int | None = None) -> int:
        """Return the only value of a tag that may be absent if it has a default."""
        values = self.tags.get(tag, () if default is None else (default,))
        if not values or any(value != values[0] for value in values):
            raise RadiographError(DAMAGED)
        return values[0]


def decode_tiff(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a TIFF file to grey; colour becomes luma, the orientation is applied.

    Raises:
        RadiographError: it has several pages, is of a kind that is not supported, too large, truncated or damaged.
        ValueError, struct.error: it is damaged.
    """
    page = _read_page(data)
    width, height, bits = page.one(WIDTH), page.one(HEIGHT), page.one(BITS, 1)
    check_size(width, height, max_pixels)
    _check_kind(page)
    samples = page.one(SAMPLES, 1)
    if samples > 1 and bits == 16:
        check_size(width, height, min(max_pixels, MAX_DEEP_COLOUR))
    values = np.empty((height, width, samples), np.uint16 if bits == 16 else np.uint8)
    _fill(values, page, bits)
    grey = _grey(values, page, bits)
    pixels = turned(grey.pixels, page.one(ORIENTATION, 1))
    return Radiograph(pixels, "TIFF", bits, checks=grey.checks, turned=pixels is not grey.pixels)


def _read_page(data: bytes) -> Page:
    """Read the tags of the only page."""
    order = "<" if data.startswith(b"II") else ">"
    version, place = struct.unpack_from(order + "HL", data, 2)
    if version != 42:
        raise RadiographError("a BigTIFF; TIFF is accepted", "unsupported-format")
    (count,) = struct.unpack_from(order + "H", data, place)
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHL", data, entry)
        if tag not in WANTED:
            continue
        limit = MAX_PARTS if tag in (STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES) else MAX_VALUES
        if number > limit:
            raise RadiographError(f"a TIFF with {number:,} values of tag {tag}; up to {limit:,} are accepted")
        if kind not in TYPES or tag in tags:
            raise RadiographError(DAMAGED)
        code = f"{order}{number}{TYPES[kind]}"
        outside = struct.calcsize(code) > 4
        start = struct.unpack_from(order + "L", data, entry + 8)[0] if outside else entry + 8
        tags[tag] = struct.unpack_from(code, data, start)
    if struct.unpack_from(order + "L", data, place + 2 + 12 * count) != (0,):
        raise RadiographError("a TIFF of several pages; one is accepted", "unsupported-format")
    return Page(data, order, tags)


def _check_kind(page: Page) -> None:
    """Refuse what is not decoded, naming the tag and what would be accepted."""
    samples, compression, photometric = page.one(SAMPLES, 1), page.one(COMPRESSION, 1), page.one(PHOTOMETRIC)
    grey = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    bytes_only = compression == JPEG or photometric == PALETTE
    properties = (
        ("Compression", compression, (*DECOMPRESS, JPEG)),
        ("PhotometricInterpretation", photometric, (0, 1, RGB, YCBCR) if compression == JPEG else (0, 1, RGB, PALETTE)),
        ("SampleFormat", page.one(SAMPLE_FORMAT, 1), (1,)),
        ("SamplesPerPixel", samples, (1, 2) if grey else (1,) if photometric == PALETTE else (3, 4)),
        ("BitsPerSample", page.one(BITS, 1), (8,) if bytes_only else (1, 8, 16) if samples == 1 else (8, 16)),
        ("PlanarConfiguration", page.one(PLANAR, 1) if samples > 1 else 1, (1,)),
        ("Predictor", page.one(PREDICTOR, 1), (1, 2) if page.one(BITS, 1) > 1 else (1,)),
        ("FillOrder", page.one(FILL_ORDER, 1), (1,)),
    )
    for name, given, accepted in properties:
        if given not in accepted:
            choice = " or ".join(map(str, accepted))
            raise RadiographError(f"a TIFF with {name} {given}; {choice} would be accepted", "unsupported-format")


def _fill(values: Values, page: Page, bits: int) -> None:
    """Decode all strips or tiles into `values`, height × width × samples."""
    height, width, samples = values.shape
    tiled = TILE_WIDTH in page.tags
    down = page.one(TILE_HEIGHT) if tiled else min(page.one(ROWS_PER_STRIP, height), height)
    across = page.one(TILE_WIDTH) if tiled else width
    if not down or not across or (tiled and (down % 16 or across % 16)) or down * across > 2 * values.size + 2**20:
        raise RadiographError(DAMAGED)
    offsets = page.tags[TILE_OFFSETS if tiled else STRIP_OFFSETS]
    sizes = page.tags[TILE_SIZES if tiled else STRIP_SIZES]
    if sum(min(size, len(page.data)) for size in sizes) > 2 * len(page.data):  # some may share their bytes, not all
        raise RadiographError(DAMAGED)
    if page.one(COMPRESSION, 1) == JPEG and len(sizes) > MAX_JPEGS:
        raise RadiographError(f"a TIFF of {len(sizes):,} JPEGs; up to {MAX_JPEGS:,} are accepted")
    corners = [(top, left) for top in range(0, height, down) for left in range(0, width, across)]
    for (top, left), offset, size in zip(corners, offsets, sizes, strict=True):
        part = values[top : top + down, left : left + across]
        shape = (down if tiled else len(part), across, samples)
        part[:] = _decode_part(page, page.data[offset : offset + size], shape, bits)[: len(part), : part.shape[1]]


def _decode_part(page: Page, data: bytes, shape: tuple[int, int, int], bits: int) -> Values:
    """Decode a strip or tile of that shape, rows × columns × samples."""
    rows, columns, samples = shape
    compression = page.one(COMPRESSION, 1)
    if compression == JPEG:
        return _decode_jpeg(page, data, shape)
    row_bytes = -(-columns * samples * bits // 8)
    try:
        raw = DECOMPRESS[compression](data, rows * row_bytes)
    except (RuntimeError, zlib.error) as error:  # imagecodecs' errors are the former
        raise RadiographError(DAMAGED) from error
    if len(raw) != rows * row_bytes:
        raise RadiographError(DAMAGED)
    if bits == 1:
        return 255 * np.unpackbits(np.frombuffer(raw, np.uint8).reshape(rows, row_bytes), axis=1)[:, :columns, None]
    values = np.frombuffer(raw, f"{page.order}u{bits // 8}").reshape(shape).astype(f"u{bits // 8}", copy=False)
    differences = page.one(PREDICTOR, 1) == 2 and compression in PREDICTED
    return np.add.accumulate(values, 1, dtype=values.dtype) if differences else values


def _decode_jpeg(page: Page, data: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    tables = bytes(page.tags.get(JPEG_TABLES, ()))
    if tables:
        data = tables.removesuffix(b"\xff\xd9") + data.removeprefix(START_OF_IMAGE)
    jpeg = read_jpeg(data)
    check_cost(jpeg)
    if (jpeg.rows, jpeg.columns, jpeg.components, jpeg.bits) != (*shape, 8):
        raise RadiographError(DAMAGED)
    values = decode_complete(data, rgb=page.one(PHOTOMETRIC) == RGB)
    return np.asarray(values, np.uint8).reshape(shape)


def _grey(values: Values, page: Page, bits: int) -> Grey:
    photometric = page.one(PHOTOMETRIC)
    if photometric == PALETTE:
        palette = np.array(page.tags[COLOUR_MAP], np.uint16).reshape(3, 256) >> 8
        return from_colour(np.ascontiguousarray(palette.astype(np.uint8).T[values[..., 0]]))
    if bits == 16:
        deep = np.asarray(values, np.uint16)
        grey = from_deep_colour(deep if photometric == RGB else deep[..., :1])
    elif photometric in (RGB, YCBCR):
        grey = from_colour(np.array(values[..., :3], np.uint8))
    else:
        grey = Grey(np.array(values[..., 0], np.uint8))
    return Grey(~grey.pixels, grey.checks) if photometric == WHITE_IS_ZERO else grey
