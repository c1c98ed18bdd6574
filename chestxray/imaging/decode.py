"""Decode a PNG, JPEG, TIFF, JPEG 2000 or DICOM file to grey pixels, for training and serving alike."""

import logging
import subprocess
import traceback
from collections.abc import Callable

from chestxray.imaging import jpeg, jpeg2000, png, tiff
from chestxray.imaging.codecs.jpeg import START_OF_IMAGE
from chestxray.imaging.codecs.jpeg2000 import BOXES, CODESTREAM
from chestxray.imaging.dicom.recognition import first_element
from chestxray.imaging.radiograph import DAMAGED, MAX_PIXELS, Radiograph, RadiographError

LOGGED_FRAMES = 5
"""The innermost of a traceback, which nested sequences of DICOM make a thousand frames deep."""

STILLS = {
    png.SIGNATURE: png.decode_png,
    START_OF_IMAGE + b"\xff": jpeg.decode_jpeg,
    **dict.fromkeys(tiff.SIGNATURES, tiff.decode_tiff),
    BOXES: jpeg2000.decode_jpeg2000,
    CODESTREAM: jpeg2000.decode_jpeg2000,
}
"""Decoders, by the bytes that a file begins with."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Radiograph:
    """Decode a file, recognised by its content, to 8-bit grey.

    The occupied range of deeper pixels becomes full scale of 8 bits, colour becomes luma (ITU-R BT.601), transparency
    is dropped, EXIF orientation is applied (docs/decisions/still-images.md); `chestxray.imaging.dicom.decode` says
    what happens to DICOM. The header is read first, so a file that claims more than `max_pixels` costs nothing.

    Args:
        data: the whole file.
        max_pixels: the most pixels to accept.

    Raises:
        RadiographError: another format, too many pixels, truncated or damaged, no projection radiograph. Of a damaged
            file the log names the type and the place of what was raised, not its message.
        MemoryError, OSError, subprocess.TimeoutExpired: the machine failed, the file may be good.
    """
    decode_kind = _decoder_of(data)
    try:
        return decode_kind(data, max_pixels)
    except (RadiographError, MemoryError, subprocess.TimeoutExpired):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, such as a fork that failed
            raise
        # Decoders raise anything for damaged files; their messages may quote the file.
        where = traceback.format_tb(error.__traceback__, limit=-LOGGED_FRAMES)
        logging.getLogger(__name__).warning("not decoded: %s", type(error).__name__, extra={"traceback": where})
        raise RadiographError(DAMAGED) from None


def _decoder_of(data: bytes) -> Callable[[bytes, int], Radiograph]:
    if first_element(data) is not None:
        from chestxray.imaging.dicom.decode import decode_dicom  # noqa: PLC0415 # 30 MiB that a service without DICOM need not have

        return decode_dicom
    for signature, decode_still in STILLS.items():
        if data.startswith(signature):
            return decode_still
    raise RadiographError("neither PNG, JPEG, TIFF, JPEG 2000 nor DICOM; save it as one of these", "unsupported-format")
