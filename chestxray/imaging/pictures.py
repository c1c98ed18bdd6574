"""Encode pictures for people to look at, fast: what is looked at once need not be as small as it can be.

What each way costs: docs/decisions/overlays.md.
"""

import struct

import cv2
import numpy as np
import numpy.typing as npt
from imagecodecs import deflate_encode

from chestxray.imaging.png import SIGNATURE, chunk

GREY = 0
RGB = 2
UP = 2
"""The filter that stores how each byte differs from the one above (PNG specification, 9.2)."""
LEVEL = 1
"""Of libdeflate, the fastest."""
QUALITY = 90
"""Of JPEG, 0–100."""


def encode_png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Encode a picture as a PNG file; the same picture gives the same bytes on every machine.

    Args:
        picture: uint8, H × W grey levels, or H × W × 3 RGB.
    """
    height, width = picture.shape[:2]
    flat = picture.reshape(height, -1)
    buffer = bytearray(height * (1 + flat.shape[1]))
    rows = np.frombuffer(buffer, np.uint8).reshape(height, -1)
    rows[:, 0] = UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, GREY if picture.ndim == 2 else RGB, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", bytes(deflate_encode(buffer, LEVEL))), chunk(b"IEND", b"")]
    return b"".join([SIGNATURE, *parts])


def encode_jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """Encode a picture, uint8 H × W × 3 RGB, as a JPEG file: much smaller and faster than PNG, and a little blurred."""
    in_opencvs_order = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", in_opencvs_order, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes()
