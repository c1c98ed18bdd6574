"""Files that a stranger may send, and the status that each is answered with."""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

RNG = np.random.default_rng(3)
GREY = RNG.integers(256, size=(120, 100), dtype=np.uint8)


def encoded(pixels: npt.NDArray[np.generic] | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_of(width: int, height: int, data: bytes, colour_type: int = 0, bits: int = 8) -> bytes:
    """A PNG that claims a size, with any data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

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


def bomb_jpeg() -> bytes:
    """A JPEG that claims 65,500 pixels a side."""
    small = encoded(GREY, "JPEG")
    place = small.index(b"\xff\xc0") + 5
    return small[:place] + struct.pack(">HH", 65_500, 65_500) + small[place + 4 :]


def flipped(data: bytes) -> bytes:
    """The middle byte inverted."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]


def bomb_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 30_000_000, zip=True)
    return encoded(GREY, pnginfo=info)


def rotated_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(GREY, "JPEG", exif=exif)


PNG, JPEG = encoded(GREY), encoded(GREY, "JPEG")

USABLE = {
    "grey png": PNG,
    "grey jpeg": JPEG,
    "16 bits": encoded(GREY.astype(np.uint16) << 8),
    "1 bit": encoded(Image.fromarray(GREY).convert("1")),
    "transparent": encoded(np.dstack([GREY] * 4)),
    "palette": encoded(Image.fromarray(GREY).convert("P")),
    "cmyk jpeg": encoded(Image.fromarray(GREY).convert("CMYK"), "JPEG"),
    "rotated": rotated_jpeg(),
    "animated png": animated_png(),
    "noise of a megapixel": encoded(RNG.integers(256, size=(1024, 1024), dtype=np.uint8)),
    "16 bits of a megapixel": encoded(RNG.integers(65536, size=(1024, 1024), dtype=np.uint16)),
    "polyglot": JPEG + b"PK\x03\x04<script>alert(1)</script>",
}
REFUSED = {
    "empty": (b"", 415),
    "text": (b"findings: none", 415),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415),
    "gif": (encoded(GREY, "GIF"), 415),
    "tiff": (encoded(GREY, "TIFF"), 415),
    "webp": (encoded(GREY, "WEBP"), 415),
    "bmp": (encoded(GREY, "BMP"), 415),
    "program": (b"\x7fELF" + bytes(200), 415),
    "signature alone": (PNG[:8], 415),
    "truncated png": (PNG[: len(PNG) // 2], 422),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], 422),
    "no pixels": (png_of(100, 100, b""), 422),
    "garbage inside": (png_of(100, 100, b"garbage"), 422),
    "bomb of text": (bomb_text(), 422),
    "bomb of pixels": (bomb_png(), 413),
    "bomb of pixels, jpeg": (bomb_jpeg(), 413),
    "flipped bits": (flipped(PNG), 422),
    "claims 2³¹ pixels a side": (png_of(2**31 - 1, 2**31 - 1, b""), 413),
    "one pixel": (encoded(np.array([[7]], np.uint8)), 422),
    "a line": (encoded(np.zeros((1, 100_000), np.uint8)), 422),
    "uniform": (encoded(np.full((100, 100), 9, np.uint8)), 422),
}
