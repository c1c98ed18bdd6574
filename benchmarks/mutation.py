"""Make valid files of every kind that the decoder takes, and damaged ones from them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from pydicom import uid

from tests.dicom_files import LOSSLESS_JPEG, SYNTAXES, dicom

TOKENS = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x7f\xff\xff\xff", b"\xff\xd9", b"\xff\xda",
    b"\xff\xdd\x00\x04\x00\x01", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"SQ\0\0\xff\xff\xff\xff",
)  # fmt: skip
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_DATA = b"\xe0\x7f\x10\x00"
HEADER = 600
CODESTREAM_HEADER = 150
DEPTHS = (
    dict.fromkeys(SYNTAXES, (8, 12))
    | dict.fromkeys(LOSSLESS_JPEG, (8, 12, 16))
    | {uid.JPEGBaseline8Bit: (8,), uid.JPEG2000Lossless: (8, 16)}
)
"""Bits stored, by transfer syntax."""


def seeds() -> dict[str, bytes]:
    """Return a valid file of each kind and depth, 48 × 64 pixels."""
    smooth = np.add.outer(np.arange(64) * 3, np.arange(48)).astype(np.uint8)
    deep = smooth.astype(np.uint16) << 8
    image = Image.fromarray(smooth)
    files = {
        "PNG": _encoded(image, "PNG"),
        "PNG, 16 bits": _encoded(Image.fromarray(deep), "PNG"),
        "PNG, RGBA": _encoded(image.convert("RGBA"), "PNG"),
        "PNG, palette": _encoded(image.convert("P"), "PNG"),
        "JPEG": _encoded(image, "JPEG"),
        "JPEG, progressive": _encoded(image.convert("RGB"), "JPEG", progressive=True),
    }
    for syntax in SYNTAXES:
        name = f"DICOM, {uid.UID(syntax).name.split(' (')[0].replace(' Image Compression', '')}, {syntax[18:]}"
        for bits in DEPTHS[syntax]:
            pixels = smooth if bits == 8 else deep >> (16 - bits)
            files[f"{name}, {bits} bits"] = dicom(pixels, syntax, bits, ViewPosition="PA", WindowWidth=200)
    return files


def mutated(valid: bytes, generator: np.random.Generator) -> bytes:
    """Return a file after a few edits: bytes set, bits flipped, tokens inserted, pieces cut or doubled, the end cut.

    Half of the PNG files get right checksums again, without which only the checksum would be tested.
    """
    data = bytearray(valid)
    for _ in range(generator.geometric(0.4)):
        place = _draw_place(data, generator)
        length = int(generator.integers(1, 65))
        match generator.integers(5):
            case 0:
                data[place : place + 1] = generator.bytes(1)
            case 1:
                data[place : place + 1] = bytes(byte ^ 1 << int(generator.integers(8)) for byte in data[place:][:1])
            case 2:
                token = TOKENS[generator.integers(len(TOKENS))]
                data[place : place + len(token)] = token
            case 3:
                del data[place : place + length]
            case _:
                data[place:place] = data[place : place + length]
    if generator.random() < 0.05:
        del data[_draw_place(data, generator) :]
    return _with_checksums(bytes(data)) if generator.random() < 0.5 else bytes(data)


def _draw_place(data: bytearray, generator: np.random.Generator) -> int:
    """Draw an offset anywhere or in a header, on which decoders branch; never in the preamble of DICOM."""
    first = 132 if data[128:132] == b"DICM" else 0
    match generator.integers(3):
        case 0:
            return first + int(generator.integers(HEADER))
        case 1:
            return max(data.find(PIXEL_DATA), first) + int(generator.integers(CODESTREAM_HEADER))
        case _:
            return first + int(generator.integers(max(len(data) - first, 1)))


def _with_checksums(data: bytes) -> bytes:
    if not data.startswith(SIGNATURE):
        return data
    mended = bytearray(data)
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
