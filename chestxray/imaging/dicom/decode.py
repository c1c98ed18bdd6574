"""Decode a DICOM file of one digital projection radiograph (CR, DX) to grey pixels.

One step a module: `header` reads the file up to its pixels, `pixel_data` decodes the pixels to stored values, with one
of the `codecs` if they are compressed, and `grayscale` turns stored values into grey levels. The file is not trusted:
sizes are checked before a pixel is decoded, no more elements are read than any real file has, and no text of it is
ever shown (see docs/decisions/untrusted-images.md).
"""

import logging
import subprocess
import traceback

from pydicom import Dataset

from chestxray.imaging.dicom.grayscale import grey_levels
from chestxray.imaging.dicom.header import DicomFile, read_file
from chestxray.imaging.dicom.pixel_data import stored_values
from chestxray.imaging.radiograph import Radiograph, RadiographError

VIEWS = frozenset({"PA", "AP", "LL", "RL", "LAT", "RLD", "LLD", "RLO", "LLO"})
"""View positions of chest radiographs (PS3.3 C.8.11.5), and LAT, which old devices write."""

LOGGED_FRAMES = 5
"""The innermost of a traceback, which nested sequences make a thousand frames deep."""

MODALITIES = frozenset({"CR", "DX"})
SOP_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray, for processing
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    }
)


def decode_dicom(data: bytes, max_pixels: int) -> Radiograph:
    """Decode a DICOM file (PS3.10) to 8-bit grey.

    Grey levels are those that a viewer shows at first: modality LUT or rescale, then the first VOI LUT or window,
    then MONOCHROME1 inverted (`chestxray.imaging.dicom.grayscale`).

    Args:
        data: the whole file, with its preamble, which is not looked at.
        max_pixels: the most pixels to accept.

    Raises:
        RadiographError: no projection radiograph of one grey frame, too many pixels, a transfer syntax that is not
            supported, truncated or damaged; the log names the type and the place of what was raised, not its message.
        MemoryError, OSError, subprocess.TimeoutExpired: the machine failed, the file may be good.
    """
    try:
        file = read_file(data)
        bits = _checked_bits(file, max_pixels)
        pixels = grey_levels(stored_values(file), file.elements)
        return Radiograph(pixels, "DICOM", bits, _view_position(file.elements))
    except (RadiographError, MemoryError, subprocess.TimeoutExpired):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, such as a fork that failed
            raise
        # pydicom and the codecs raise anything for damaged files; their messages quote the file.
        where = traceback.format_tb(error.__traceback__, limit=-LOGGED_FRAMES)
        logging.getLogger(__name__).warning("not decoded: %s", type(error).__name__, extra={"traceback": where})
        raise RadiographError("truncated or damaged") from None


def _checked_bits(file: DicomFile, max_pixels: int) -> int:
    """Return the bits stored per pixel, once the header describes one grey radiograph that is not too large."""
    elements = file.elements
    if elements.get("SOPClassUID") not in SOP_CLASSES or elements.get("Modality") not in MODALITIES:
        raise RadiographError("not a digital projection radiograph (CR or DX)", "not-a-radiograph")
    frames = int(elements.get("NumberOfFrames") or 1)
    if frames != 1:
        raise RadiographError("not a single frame", "not-a-radiograph")
    if elements.SamplesPerPixel != 1 or elements.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise RadiographError("not grey", "not-a-radiograph")
    if elements.Rows * elements.Columns > max_pixels:
        raise RadiographError(
            f"{elements.Columns}×{elements.Rows} pixels are more than {max_pixels:,}", "image-too-large"
        )
    allocated = int(elements.BitsAllocated)
    stored = int(elements.BitsStored)
    if allocated not in (8, 16) or not 8 <= stored <= allocated or elements.HighBit != stored - 1:
        raise RadiographError("not of 8 to 16 bits per pixel in 8 or 16")
    if elements.Rows * elements.Columns == 0:
        raise RadiographError("no pixels")
    return stored


def _view_position(elements: Dataset) -> str | None:
    view = elements.get("ViewPosition")
    return view if isinstance(view, str) and view in VIEWS else None
