"""Make every kind of file that clients may send, and say with which status each is answered."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.dicom_files import SYNTAXES, dataset_of, dicom, written

RNG = np.random.default_rng(3)
RAMP = np.arange(256, dtype=np.uint8)
GREY = RNG.integers(256, size=(120, 100), dtype=np.uint8)


def encoded(pixels: npt.NDArray[np.generic] | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width: int, height: int, data: bytes, colour_type: int = 0, bits: int = 8) -> bytes:
    """A PNG that claims a size, with any data."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb_png() -> bytes:
    packer = zlib.compressobj(9)
    return png_of(30_000, 30_000, packer.compress(bytes(30_001_000)) + packer.flush())


def animated_png() -> bytes:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def damaged_exif(exif: bytes) -> bytes:
    """A good PNG with such a chunk after its header."""
    return PNG[:33] + chunk(b"eXIf", exif) + PNG[33:]


def two_pictures() -> bytes:
    """A JPEG that goes on with a second one, as some cameras write it."""
    return encoded(Image.fromarray(GREY), "MPO", save_all=True, append_images=[Image.fromarray(255 - GREY)])


def bomb_jpeg() -> bytes:
    """A JPEG that claims 65,500 pixels a side."""
    small = encoded(GREY, "JPEG")
    place = small.index(b"\xff\xc0") + 5
    return small[:place] + struct.pack(">HH", 65_500, 65_500) + small[place + 4 :]


def with_scans(jpeg: bytes, count: int) -> bytes:
    """A JPEG of one component with so many more scans, all of them empty."""
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + count * jpeg[start : start + 10] + jpeg[-2:]


def flipped(data: bytes) -> bytes:
    """The middle byte inverted."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]


def bomb_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 30_000_000, zip=True)
    return encoded(GREY, pnginfo=info)


def text_beyond_latin() -> bytes:
    """40 chunks of a million letters each, which one that is not Latin makes four bytes wide."""
    letters = zlib.compress(("a" * 1_000_000 + "\N{GRINNING FACE}").encode())
    header_end = 33
    return PNG[:header_end] + 40 * chunk(b"iTXt", b"k\0\1\0\0\0" + letters) + PNG[header_end:]


def rotated_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(GREY, "JPEG", exif=exif)


def repeated_tags() -> bytes:
    """A TIFF with 500 entries for one tag, each of them with the same 100,000 values."""
    head, values = b"II*\0" + struct.pack("<L", 8 + 400_000), bytes(400_000)
    entries = struct.pack("<HHLL", 273, 4, 100_000, 8) * 500
    return head + values + struct.pack("<H", 500) + entries + bytes(4)


def deflate_bomb() -> bytes:
    """64 MiB of zeros behind the header, and no pixels."""
    data = dicom(GREY, uid.DeflatedExplicitVRLittleEndian)
    start = data.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:start] + packer.compress(bytes(64 * 2**20)) + packer.flush()


def deep_sequences() -> bytes:
    data = dicom(GREY)
    start = data.index(b"\x08\x00\x16\x00UI")
    opened = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return data[:start] + opened * 50_000 + data[start:]


def many_elements() -> bytes:
    data = dicom(GREY)
    start = data.index(b"\x28\x00\x02\x00US")
    return data[:start] + b"\x09\x00\x01\x00LO\x00\x00" * 1_000_000 + data[start:]


def endless_character_set(around: str = "", names: int = 300_000) -> bytes:
    """Megabytes of names that no codec has: at the top, in an item of unknown length, or in a look-up table."""
    data = dicom(GREY, uid.ImplicitVRLittleEndian)
    start = data.index(struct.pack("<HHL", 0x0008, 0x0016, 26))
    value = b"\\".join(b"%06x" % name for name in range(names))
    element = struct.pack("<HHL", 0x0008, 0x0005, len(value)) + value
    if around == "item":
        opened = struct.pack("<HHLHHL", 0x0008, 0x1115, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
        element = opened + element + struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    elif around == "table":
        size = len(element)
        element = struct.pack("<HHLHHL", 0x0028, 0x3010, size + 8, 0xFFFE, 0xE000, size) + element
    return data[:start] + element + data[start:]


def endless_syntax() -> bytes:
    """Its value representation allows four bytes of length, and millions of values."""
    data = dicom(GREY)
    start = data.index(b"\x02\x00\x10\x00UI")
    return data[:start] + b"\x02\x00\x10\x00UC\0\0" + struct.pack("<L", 10**7) + b"\\" * 10**7 + data[start + 28 :]


def in_items(data: bytes, syntax: str) -> bytes:
    """Encapsulated garbage."""
    dataset = dataset_of(GREY)
    dataset.PixelData = struct.pack("<LLLL", 0xE000FFFE, 0, 0xE000FFFE, len(data)) + data
    return written(dataset, syntax)


def float_pixels() -> bytes:
    dataset = dataset_of(GREY)
    del dataset.PixelData
    dataset.FloatPixelData = GREY.astype(np.float32).tobytes()
    return written(dataset)


def claims(**elements: Any) -> bytes:
    return dicom(GREY, **elements)


def huge_codestream() -> bytes:
    """A JPEG of 60,000 × 60,000 pixels in a DICOM file that claims 120 × 100."""
    frame = bytearray(encoded(GREY, "JPEG"))
    place = frame.index(b"\xff\xc0") + 5
    frame[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    return in_items(bytes(frame), uid.JPEGBaseline8Bit)


def divided_jpeg2000(precincts: bool = False, in_tile: bool = False) -> bytes:
    """A small JPEG 2000 codestream that claims 39.6 megapixels in one tile, of tiny code blocks or precincts."""
    frame = encoded(GREY, "JPEG2000", no_jp2=True)
    start, tile = frame.index(b"\xff\x52"), frame.index(b"\xff\x90")
    size = frame[:start]
    style = frame[start : start + 14]
    rest = frame[start + 14 : tile]
    size = size[:8] + struct.pack(">LLLLLL", 6600, 6000, 0, 0, 6600, 6000) + size[32:]
    tiny = style[:10] + b"\0\0" + style[12:]
    if precincts:
        tiny = b"\xff\x52\x00\x12\x01" + style[5:] + b"\x11" * 6
    if in_tile:
        header = frame[tile : tile + 6] + bytes(4) + frame[tile + 10 : tile + 12]
        frame = size + style + rest + header + tiny + frame[tile + 12 :]
    else:
        frame = size + tiny + rest + frame[tile:]
    dataset = dataset_of(GREY, Rows=6000, Columns=6600)
    dataset.PixelData = encapsulate([frame])
    return written(dataset, uid.JPEG2000Lossless)


def voi_of(entries: bytes) -> bytes:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 16], entries
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return claims(VOILUTSequence=[item])


PNG = encoded(GREY)
JPEG = encoded(GREY, "JPEG")

USABLE = {
    "grey png": PNG,
    "grey jpeg": JPEG,
    "16 bits": encoded(GREY.astype(np.uint16) << 8),
    "tiff": encoded(GREY, "TIFF"),
    "jpeg 2000": encoded(GREY, "JPEG2000"),
    "bomb of text": bomb_text(),
    "bomb of text that is four times as large in memory": text_beyond_latin(),
    "transparent": encoded(np.dstack([GREY] * 4)),
    "palette": encoded(Image.fromarray(GREY).convert("P")),
    "cmyk jpeg": encoded(Image.fromarray(GREY).convert("CMYK"), "JPEG"),
    "rotated": rotated_jpeg(),
    "animated png": animated_png(),
    "two pictures in a jpeg": two_pictures(),
    "exif cut off": damaged_exif(b"II*\0"),
    "exif of another kind": damaged_exif(b"II+\0" + bytes(40)),
    **{f"dicom, {syntax}": dicom(GREY, syntax) for syntax in SYNTAXES},
    "dicom behind a program": b"\x7fELF" + dicom(GREY)[4:],
    "dicom, endless character set": endless_character_set(),
    "dicom, endless character set in an item": endless_character_set("item"),
    "dicom, view of a stranger": dicom(GREY, ViewPosition="CANARY"),
    "noise of a megapixel": encoded(RNG.integers(256, size=(1024, 1024), dtype=np.uint8)),
    "16 bits of a megapixel": encoded(RNG.integers(65536, size=(1024, 1024), dtype=np.uint16)),
    "polyglot": JPEG + b"PK\x03\x04<script>alert(1)</script>",
}
REFUSED = {
    "empty": (b"", 415),
    "text": (b"findings: none", 415),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415),
    "gif": (encoded(GREY, "GIF"), 415),
    "webp": (encoded(GREY, "WEBP"), 415),
    "bmp": (encoded(GREY, "BMP"), 415),
    "program": (b"\x7fELF" + bytes(200), 415),
    "signature alone": (PNG[:8], 422),
    "1 bit": (encoded(Image.fromarray(GREY).convert("1")), 422),
    "tiff, two pages": (encoded(GREY, "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]), 415),
    "tiff, one tag 500 times": (repeated_tags(), 422),
    "truncated tiff": (encoded(GREY, "TIFF")[:5000], 422),
    "truncated jpeg 2000": (encoded(GREY, "JPEG2000")[:5000], 422),
    "truncated png": (PNG[: len(PNG) // 2], 422),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], 422),
    "no pixels": (png_of(100, 100, b""), 422),
    "garbage inside": (png_of(100, 100, b"garbage"), 422),
    "bomb of pixels": (bomb_png(), 413),
    "scans over many pixels": (with_scans(encoded(np.tile(RAMP, (4000, 20)), "JPEG"), 40), 422),
    "bomb of scans": (with_scans(JPEG, 200), 422),
    "fill bytes": (JPEG[:2] + b"\xff" * 10**6 + JPEG[2:], 422),
    "restart markers": (JPEG[:-2] + b"\xff\xd0" * 10**6 + JPEG[-2:], 422),
    "empty chunks": (PNG[:33] + 10**6 * chunk(b"tEXt", b"") + PNG[33:], 422),
    "bomb of pixels, jpeg": (bomb_jpeg(), 413),
    "flipped bits": (flipped(PNG), 422),
    "claims 2³¹ pixels a side": (png_of(2**31 - 1, 2**31 - 1, b""), 413),
    "lateral dicom": (dicom(GREY, ViewPosition="LL"), 422),
    "hand in dicom": (dicom(GREY, BodyPartExamined="HAND"), 422),
    "dicom, truncated": (dicom(GREY)[:-5000], 422),
    "dicom, header alone": (dicom(GREY)[:200], 422),
    "dicom, magic alone": (bytes(128) + b"DICM", 422),
    "dicom, CT": (claims(Modality="CT", SOPClassUID=uid.CTImageStorage), 422),
    "dicom, two frames": (claims(NumberOfFrames=2), 422),
    "dicom, 2³¹ frames": (claims(NumberOfFrames=2**31 - 1), 422),
    "dicom, colour": (claims(SamplesPerPixel=3, PhotometricInterpretation="RGB"), 422),
    "dicom, float pixels": (float_pixels(), 422),
    "dicom, 65,535 rows and columns": (claims(Rows=65535, Columns=65535), 413),
    "dicom, more rows than bytes": (claims(Rows=6000, Columns=6000), 422),
    "dicom, no rows": (claims(Rows=0), 422),
    "dicom, 32 bits": (claims(BitsAllocated=32), 415),
    "dicom, deflate bomb": (deflate_bomb(), 422),
    "dicom, deep sequences": (deep_sequences(), 422),
    "dicom, a million elements": (many_elements(), 422),
    "dicom, short look-up table": (voi_of(bytes(20)), 422),
    "dicom, half a look-up table": (voi_of(bytes(256)), 422),
    "dicom, endless look-up table": (voi_of(bytes(3_000_000)), 422),
    "dicom, character set of a table": (endless_character_set("table", 37_000), 422),
    "dicom, endless transfer syntax": (endless_syntax(), 422),
    "dicom, tiny code blocks": (divided_jpeg2000(), 422),
    "dicom, tiny precincts": (divided_jpeg2000(precincts=True), 422),
    "dicom, tiny code blocks of a tile": (divided_jpeg2000(in_tile=True), 422),
    "dicom, huge codestream": (huge_codestream(), 422),
    **{
        f"dicom, garbage in {syntax}": (in_items(b"garbage!" * 40, syntax), 422)
        for syntax in SYNTAXES
        if uid.UID(syntax).is_encapsulated
    },
    "one pixel": (encoded(np.array([[7]], np.uint8)), 422),
    "a line": (encoded(np.zeros((1, 100_000), np.uint8)), 422),
    "uniform": (encoded(np.full((100, 100), 9, np.uint8)), 422),
}
