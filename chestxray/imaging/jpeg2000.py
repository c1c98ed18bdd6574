"""Decode a JPEG 2000 still: a codestream as it is, or in the boxes of a JP2 file."""

import struct

import numpy as np

from chestxray.imaging.codecs.jpeg2000 import check_tiles, codestream_of
from chestxray.imaging.codecs.process import decode_in_process
from chestxray.imaging.radiograph import Radiograph, RadiographError
from chestxray.imaging.still import check_size, from_bits, from_colour


def decode_jpeg2000(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a JPEG 2000 file to grey; colour becomes luma.

    Raises:
        RadiographError: it is of another kind, too large, truncated or damaged.
        OSError, ValueError, struct.error, IndexError: it is damaged.
    """
    stream = codestream_of(data)
    right, bottom, left, top = struct.unpack_from(">LLLL", stream, 8)
    components, depth = struct.unpack_from(">HB", stream, 40)
    width, height, bits = right - left, bottom - top, (depth & 127) + 1
    check_size(max(width, 0), max(height, 0), max_pixels)
    if components not in (1, 3):
        raise RadiographError(f"JPEG 2000 of {components} components; 1 or 3 are accepted", "unsupported-format")
    if depth > 127 or bits > 16 or (components == 3 and bits != 8):
        kind = f"{bits} signed bits" if depth > 127 else f"{bits} bits"
        message = f"JPEG 2000 of {kind}; 1 to 16 unsigned ones of grey, or 8 of colour, are accepted"
        raise RadiographError(message, "unsupported-format")
    check_tiles(stream)
    values = decode_in_process("jpeg-2000", data, height, width, components)
    grey = from_colour(np.asarray(values, np.uint8)) if components == 3 else from_bits(values, bits)
    return Radiograph(grey.pixels, "JPEG 2000", bits, checks=grey.checks)
