"""Decode a PNG, JPEG, TIFF, JPEG 2000 or DICOM file to grey pixels, for training and serving alike."""

import struct

from chestxray.imaging import jpeg, jpeg2000, png, tiff
from chestxray.imaging.codecs.jpeg import START_OF_IMAGE
from chestxray.imaging.codecs.jpeg2000 import BOXES, CODESTREAM
from chestxray.imaging.dicom.recognition import first_element
from chestxray.imaging.radiograph import DAMAGED, MAX_PIXELS, Radiograph, RadiographError

DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, OverflowError, TypeError, KeyError, IndexError, struct.error,
)  # fmt: skip
"""What decoders raise for damaged files."""

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
        RadiographError: another format, too many pixels, truncated or damaged, no projection radiograph.
        MemoryError, OSError, subprocess.TimeoutExpired: the machine failed, the file may be good.
    """
    if first_element(data) is not None:
        from chestxray.imaging.dicom.decode import decode_dicom  # noqa: PLC0415 # 30 MiB that a service without DICOM need not have

        return decode_dicom(data, max_pixels)
    for signature, decode_still in STILLS.items():
        if data.startswith(signature):
            try:
                return decode_still(data, max_pixels)
            except RadiographError:
                raise
            except DAMAGE as error:
                if isinstance(error, OSError) and error.errno is not None:  # of the system, such as a fork that failed
                    raise
                raise RadiographError(DAMAGED) from error
    raise RadiographError("neither PNG, JPEG, TIFF, JPEG 2000 nor DICOM", "unsupported-format")
