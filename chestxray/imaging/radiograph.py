"""Define a decoded radiograph, the error that says why there is none, and its resizing."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.errors import UserError

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 40_000_000
"""More than any detector gives; larger files are decompression bombs."""

Kind = Literal["unsupported-format", "image-too-large", "unreadable-image", "not-a-radiograph"]


class RadiographError(UserError):
    """The bytes are not an image that can be used; the message says why, without quoting the file.

    Args:
        message: for a person.
        kind: for a program.
    """

    def __init__(self, message: str, kind: Kind = "unreadable-image") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: grey levels, uint8, height × width, upright (EXIF orientation applied); may be read-only.
        format: "PNG", "JPEG" or "DICOM".
        bit_depth: bits per grey level in the file.
        view_position: of a DICOM file, one of `chestxray.imaging.dicom.decode.VIEWS`; None for another view, and if the
            file names none.
    """

    pixels: Pixels
    format: str
    bit_depth: int
    view_position: str | None = None


def resize(pixels: Pixels, size: int) -> Pixels:
    """Resize to a square by area averaging, as NIH did for the published images (the aspect ratio is not kept).

    Args:
        pixels: uint8, height × width.
        size: side of the result in pixels.

    Returns:
        uint8, size × size.
    """
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
