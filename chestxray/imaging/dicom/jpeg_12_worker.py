"""Decode a sequential JPEG codestream of 12 bits with libtiff, as a process (`python -m`, see `codec_worker`)."""

import io
import struct

from PIL import Image, TiffImagePlugin  # noqa: F401 # the plug-in, before memory is limited

from chestxray.imaging.dicom.codec_worker import run_codec

END_OF_IMAGE = b"\xff\xd9"
LONG = 4
"""The type of a TIFF field of 32 bits."""

IMAGE_FILE_HEADER = struct.Struct("<2sHL")
"""Of TIFF: order of bytes, version, where the tags are."""


def decode_jpeg_12(data: bytes, rows: int, columns: int) -> bytes:
    """Decode JPEG of process 4 (ISO 10918-1).

    Rows that lack before an end that is marked are grey, as in JPEG of 8 bits: libjpeg warns of them, and Pillow does
    not pass that on.

    Returns:
        The pixels, two bytes each, little endian.

    Raises:
        ValueError: the codestream ends early, which libtiff would fill with grey.
        Exception: of any kind, from Pillow, if it is damaged.
    """
    if not data.rstrip(b"\0\xff").endswith(END_OF_IMAGE):
        raise ValueError("ends early")
    with Image.open(io.BytesIO(tiff_around_jpeg(data, rows, columns, 12)), formats=("TIFF",)) as image:
        return image.tobytes()


def tiff_around_jpeg(data: bytes, rows: int, columns: int, bits: int) -> bytes:
    """Return a TIFF file whose only strip is a JPEG codestream of one component (TIFF Technical Note 2).

    Pillow decodes JPEG of 12 bits in this shape alone.
    """
    end = IMAGE_FILE_HEADER.size + len(data) + len(data) % 2
    tags = {
        256: columns,
        257: rows,
        258: bits,
        259: 7,  # compression: JPEG
        262: 1,  # zero is black
        273: IMAGE_FILE_HEADER.size,  # where the strip is, how many rows and bytes it has
        278: rows,
        279: len(data),
    }
    entries = b"".join(struct.pack("<HHLL", tag, LONG, 1, value) for tag, value in tags.items())
    head = IMAGE_FILE_HEADER.pack(b"II", 42, end)
    return head + data + bytes(len(data) % 2) + struct.pack("<H", len(tags)) + entries + bytes(4)


if __name__ == "__main__":
    run_codec(decode_jpeg_12)
