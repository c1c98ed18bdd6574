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
MAX_FILE_BYTES = 100_000_000
"""More than a film of `MAX_PIXELS` with two bytes each."""

DAMAGED = "truncated or damaged"
"""The message of an error for a file that lacks a part, or has a wrong one."""

Kind = Literal["unsupported-format", "image-too-large", "unreadable-image", "not-a-radiograph"]


@dataclass(frozen=True)
class Check:
    """A property of a file that makes an answer about it doubtful ("warned") or pointless ("refused").

    Attributes:
        name: of the check, for a program, such as "view-position".
        verdict: "warned" or "refused".
        message: a sentence for a person: what was found, and what would be accepted; it quotes nothing of the file.
        value: how far, where the check measures something.
        limit: of `value`, from which on the check gives this verdict.
    """

    name: str
    verdict: Literal["warned", "refused"]
    message: str
    value: float | None = None
    limit: float | None = None


class RadiographError(UserError):
    """The bytes are not an image that can be used; the message says why, without quoting the file.

    Args:
        message: for a person.
        kind: for a program.
        checks: what they found, where they are the reason.
    """

    def __init__(self, message: str, kind: Kind = "unreadable-image", checks: tuple[Check, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.checks = checks


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: grey levels, uint8, height × width, upright (EXIF orientation applied); may be read-only.
        format: "PNG", "JPEG", "TIFF", "JPEG 2000" or "DICOM".
        bit_depth: bits per grey level in the file.
        view_position: of a DICOM file, a defined term such as "PA", "AP" or "LL" (PS3.3, C.8.11.5), or "LAT"; None for
            another view, and if the file names none.
        patient_orientation: of a DICOM file, the directions of the patient that its rows and columns run to, such as
            "R\\F", from which the pixels were turned to "L\\F"; None if it names none.
        checks: what its header and its decoding make doubtful or pointless; `chestxray.imaging.quality` adds to them.
        turned: whether the pixels stand in another place than in the file, so that boxes in it don't fit them.
    """

    pixels: Pixels
    format: str
    bit_depth: int
    view_position: str | None = None
    patient_orientation: str | None = None
    checks: tuple[Check, ...] = ()
    turned: bool = False


def fit(pixels: Pixels, longer_side: int) -> Pixels:
    """Resize for people to look at, in its proportions.

    Args:
        pixels: uint8, height × width.
        longer_side: of the result in pixels.

    Returns:
        uint8; the shorter side has a pixel at least.
    """
    longest = max(pixels.shape)
    height, width = (max(1, round(longer_side * side / longest)) for side in pixels.shape)
    interpolation = cv2.INTER_AREA if longest > longer_side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)


def resize(pixels: Pixels, size: int) -> Pixels:
    """Resize to a square by area averaging, as NIH did for the published images (the aspect ratio is not kept).

    Args:
        pixels: uint8, height × width.
        size: side of the result in pixels.

    Returns:
        uint8, size × size.
    """
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
