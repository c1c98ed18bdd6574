"""Bytes of an image file to grey pixels: the one decoder, for training and serving alike."""

import io
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 40_000_000
"""No detector gives more; above it lie decompression bombs."""


MAX_SCANS = 100
"""Of a JPEG. Progressive ones have about ten; each goes over all pixels, so thousands would take minutes."""

Kind = Literal["unsupported-format", "image-too-large", "unreadable-image", "not-a-radiograph"]


class RadiographError(ValueError):
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
        view_position: of a DICOM file, one of `chestxray.dicom.VIEWS`; None if it is another, or the file says none.
    """

    pixels: Pixels
    format: str
    bit_depth: int
    view_position: str | None = None


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Radiograph:
    """Decodes a PNG, JPEG or DICOM file, recognised by its content, to 8-bit grey.

    16-bit PNG files are scaled (full scale to full scale), colour becomes luma (ITU-R BT.601), transparency is
    dropped, EXIF orientation is applied; `chestxray.dicom` says what happens to DICOM. The header is read first, so
    a file that claims more than `max_pixels` costs nothing.

    Args:
        data: the whole file.
        max_pixels: the most pixels to accept.

    Raises:
        RadiographError: another format, too many pixels, truncated or damaged, no projection radiograph.
    """
    if data[128:132] == b"DICM":
        from chestxray.dicom import decode_dicom  # noqa: PLC0415 # 30 MiB that a service without DICOM need not have

        return decode_dicom(data, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > max_pixels:
                raise RadiographError(
                    f"{image.width}×{image.height} pixels are more than {max_pixels:,}", "image-too-large"
                )
            if image.format == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
                raise RadiographError(f"more than {MAX_SCANS} scans")
            return _grey(image)
    except RadiographError:
        raise
    except Image.DecompressionBombError as error:
        raise RadiographError(f"more than {max_pixels:,} pixels", "image-too-large") from error
    except UnidentifiedImageError as error:
        raise RadiographError("neither PNG nor JPEG nor DICOM", "unsupported-format") from error
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, TypeError, KeyError, IndexError) as error:
        # Pillow's decoders raise any of these for damaged files.
        raise RadiographError("truncated or damaged") from error


def _grey(image: Image.Image) -> Radiograph:
    image_format, mode = str(image.format), image.mode
    ImageOps.exif_transpose(image, in_place=True)
    if mode.startswith("I"):
        # Pillow's own conversion of 16 bits clips at 255 instead of scaling.
        pixels = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Radiograph(pixels.astype(np.uint8), image_format, 16)
    grey = image if mode == "L" else image.convert("L")  # which copies even what is grey
    return Radiograph(np.asarray(grey), image_format, 1 if mode == "1" else 8)


def resize(pixels: Pixels, size: int) -> Pixels:
    """Resizes to a square, by area averaging, as NIH did for the published images (the aspect is not kept).

    Args:
        pixels: uint8, height × width.
        size: side of the result in pixels.
    """
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
