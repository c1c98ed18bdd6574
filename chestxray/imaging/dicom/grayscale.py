"""Turn the stored values of a DICOM image into grey levels (PS3.3, C.7.6.3.1, C.7.5.1.1.2, C.11.1, C.11.2)."""

import math

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing

from chestxray.imaging.dicom.codecs import Values
from chestxray.imaging.radiograph import Pixels, RadiographError

Doubles = npt.NDArray[np.float64]

OUTLIERS = 0.001
"""Share of the darkest and of the brightest pixels that the range of an image without a window leaves out."""


def grey_levels(stored: Values, elements: Dataset) -> Pixels:
    """Apply the modality LUT or rescale, then the first VOI LUT or window, then invert MONOCHROME1.

    There are at most 65,536 stored values, so the grey level of each is computed once. Without a VOI LUT or a usable
    window the values from the 0.1st to the 99.9th percentile of the pixels make the range. Padding becomes black.

    Args:
        stored: uint8 or uint16, rows × columns: as many bits as are stored, in two's complement if they are signed.
        elements: of the header.

    Returns:
        uint8, of the shape of `stored`; 0 is black.

    Raises:
        RadiographError: infinite values, or a damaged look-up table.
        Exception: of any kind, from pydicom, for damaged elements.
    """
    codes = np.arange(1 << int(elements.BitsStored))
    values = codes - ((codes & (1 << int(elements.BitsStored) - 1)) << 1) if elements.PixelRepresentation else codes
    padding = _padding(values, elements)
    meanings = _meanings(values, elements)
    if not np.isfinite(meanings).all():
        raise RadiographError("of infinite values")
    levels = _levels(meanings, elements)
    if levels is None:
        levels = _full_range(meanings, stored, padding)
    if elements.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    levels[padding] = 0
    return np.asarray(np.rint(levels).clip(0, 255).astype(np.uint8)[stored], dtype=np.uint8)


def _padding(values: npt.NDArray[np.intp], elements: Dataset) -> npt.NDArray[np.bool_]:
    """Return which of the stored values stand for padding (PS3.3, C.7.5.1.1.2)."""
    first = _number(elements.get("PixelPaddingValue"))
    last = _number(elements.get("PixelPaddingRangeLimit"))
    if first is None:
        return np.zeros(len(values), bool)
    last = first if last is None else last
    return (values >= min(first, last)) & (values <= max(first, last))


def _meanings(values: npt.NDArray[np.intp], elements: Dataset) -> Doubles:
    """Apply the modality LUT or the rescale, of which an empty one counts as none."""
    if elements.get("ModalityLUTSequence"):
        return _looked_up(values.astype(np.float64), elements.ModalityLUTSequence[0], elements)[0]
    slope = _number(elements.get("RescaleSlope"))
    intercept = _number(elements.get("RescaleIntercept"))
    rescaled = values * (1.0 if slope is None else slope) + (0.0 if intercept is None else intercept)
    return np.asarray(rescaled, dtype=np.float64)


def _looked_up(values: Doubles, table: Dataset, elements: Dataset) -> tuple[Doubles, int]:
    """Look values up in a table, beyond its ends the first and the last entry (C.11.1.1.1).

    Returns:
        The entries, and how many bits they have.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    count = count % 65536 or 65536  # 16 bits, which may be read as signed
    data = table.LUTData
    if isinstance(data, bytes):
        words = np.frombuffer(data, "<u2" if elements.original_encoding[1] else ">u2").astype("<u2", copy=False)
        entries = words.view(np.uint8) if bits == 8 and len(words) < count else words  # two may share a word
    else:
        entries = np.atleast_1d(np.asarray(data, np.uint16))
    if len(entries) < count or not 8 <= bits <= 16:
        raise RadiographError("of a look-up table shorter than it says, or not of 8 to 16 bits")
    return entries[np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)].astype(np.float64), bits


def _levels(meanings: Doubles, elements: Dataset) -> Doubles | None:
    """Apply the first VOI LUT or window; returns 0–255, or None if there is none that can be used."""
    if elements.get("VOILUTSequence"):
        entries, bits = _looked_up(meanings, elements.VOILUTSequence[0], elements)
        return entries * (255 / ((1 << bits) - 1))
    center = _number(elements.get("WindowCenter"))
    width = _number(elements.get("WindowWidth"))
    if center is None or width is None or not (math.isfinite(center) and 1 <= width < math.inf):
        return None
    # pydicom's result has the range of the stored values; of these it is 0–255.
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.BitsStored = 8
    window.PixelRepresentation = 0
    window.WindowCenter = center
    window.WindowWidth = width
    window.VOILUTFunction = elements.get("VOILUTFunction") or "LINEAR"
    with np.errstate(over="ignore"):  # of the sigmoid, far from the window
        return np.asarray(apply_windowing(meanings, window), dtype=np.float64)


def _number(value: object) -> float | None:
    """Return a number of the header, of several the first; None for what is absent or empty."""
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__getitem__") else value)  # type: ignore[arg-type] # pydicom's numbers


def _full_range(meanings: Doubles, stored: Values, padding: npt.NDArray[np.bool_]) -> Doubles:
    """Spread the pixels' own range over 0–255, outliers and padding left out."""
    counts = cv2.calcHist([stored], [0], None, [len(meanings)], [0, len(meanings)]).ravel()
    counts[padding] = 0
    order = np.argsort(meanings, kind="stable")
    below = np.cumsum(counts[order], dtype=np.float64)
    if not below[-1]:
        return np.zeros(len(meanings))
    low, high = meanings[order][np.searchsorted(below, np.array([OUTLIERS, 1 - OUTLIERS]) * below[-1])]
    return np.asarray(np.clip((meanings - low) / max(high - low, np.finfo(np.float64).tiny), 0, 1) * 255)
