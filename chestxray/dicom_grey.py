"""Stored values of a DICOM image to the grey levels that they mean (PS3.3, C.7.6.3.1, C.7.5.1.1.2, C.11.1, C.11.2)."""

import math

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from chestxray.dicom_pixels import Values
from chestxray.radiograph import Pixels, RadiographError

Doubles = npt.NDArray[np.float64]

OUTLIERS = 0.001
"""Share of the darkest and of the brightest pixels that the range of an image without a window leaves out."""


def grey_levels(stored: Values, elements: Dataset) -> Pixels:
    """Applies modality LUT or rescale, then the first VOI LUT or window, then inverts MONOCHROME1.

    There are at most 65,536 stored values, so each is computed once. Without a VOI LUT or a usable window the values
    from the 0.1st to the 99.9th percentile of the pixels make the range. Padding becomes black.

    Args:
        stored: as many bits as are stored, in two's complement if they are signed.
        elements: of the header.

    Returns:
        uint8, of the shape of `stored`.
    """
    codes = np.arange(1 << int(elements.BitsStored))
    values = codes - ((codes & (1 << int(elements.BitsStored) - 1)) << 1) if elements.PixelRepresentation else codes
    padding = _padding(values, elements)
    meanings = np.asarray(apply_modality_lut(values, elements), dtype=np.float64)
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
    """Which stored values are no pixels (PS3.3, C.7.5.1.1.2)."""
    if "PixelPaddingValue" not in elements:
        return np.zeros(len(values), bool)
    first = int(elements.PixelPaddingValue)
    last = int(elements.get("PixelPaddingRangeLimit", first))
    return (values >= min(first, last)) & (values <= max(first, last))


def _levels(meanings: Doubles, elements: Dataset) -> Doubles | None:
    """0–255 by the first VOI LUT or window; None if there is none that can be used."""
    if elements.get("VOILUTSequence"):
        bits = int(elements.VOILUTSequence[0].LUTDescriptor[2])
        table = apply_voi(np.rint(meanings).astype(np.int64), elements)
        return np.asarray(table * (255 / ((1 << bits) - 1)), dtype=np.float64)
    center, width = (_first(elements.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width < 1:
        return None
    # pydicom's result has the range of the stored values; of these it is 0–255.
    window = Dataset()
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    window.WindowCenter, window.WindowWidth = center, width
    window.VOILUTFunction = elements.get("VOILUTFunction") or "LINEAR"
    with np.errstate(over="ignore"):  # of the sigmoid, far from the window
        return np.asarray(apply_windowing(meanings, window), dtype=np.float64)


def _first(value: object) -> float | None:
    """Of several windows the first; None for what is no finite number."""
    if value is None or value == "":
        return None
    number = float(value[0] if hasattr(value, "__getitem__") else value)  # type: ignore[arg-type] # pydicom's numbers
    return number if math.isfinite(number) else None


def _full_range(meanings: Doubles, stored: Values, padding: npt.NDArray[np.bool_]) -> Doubles:
    counts = cv2.calcHist([stored], [0], None, [len(meanings)], [0, len(meanings)]).ravel()
    counts[padding] = 0
    order = np.argsort(meanings, kind="stable")
    below = np.cumsum(counts[order], dtype=np.float64)
    if not below[-1]:
        return np.zeros(len(meanings))
    low, high = meanings[order][np.searchsorted(below, np.array([OUTLIERS, 1 - OUTLIERS]) * below[-1])]
    return np.asarray(np.clip((meanings - low) / max(high - low, np.finfo(np.float64).tiny), 0, 1) * 255)
