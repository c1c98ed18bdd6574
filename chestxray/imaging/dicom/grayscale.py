"""Turn the stored values of a DICOM image into grey levels (PS3.3, C.7.6.3.1, C.7.5.1.1.2, C.11.1, C.11.2).

Where the standard leaves something open, or a file breaks it: docs/decisions/dicom-values.md.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement

from chestxray.imaging.dicom.description import Elements
from chestxray.imaging.dicom.frame import Values
from chestxray.imaging.dicom.numbers import numbers
from chestxray.imaging.radiograph import Check, Pixels, RadiographError

Doubles = npt.NDArray[np.float64]

OUTLIERS = 0.001
"""Share of the darkest and of the brightest pixels that the range of an image without a window leaves out."""

SMALLEST = np.finfo(np.float64).tiny


def grey_levels(stored: Values, elements: Elements) -> tuple[Pixels, tuple[Check, ...]]:
    """Apply the modality LUT or rescale, then the first VOI LUT or window, then the presentation LUT shape.

    There are at most 65,536 stored values, so the grey level of each is computed once. Without a VOI LUT or a usable
    window the range is that of the bits, of up to eight, so that these come out as they are; of more bits it is that
    of the pixels, from the 0.1st to the 99.9th percentile. Padding becomes black.

    Args:
        stored: uint8 or uint16, rows × columns: as many bits as are stored, in two's complement if they are signed.
        elements: of the header, as `chestxray.imaging.dicom.description.read_elements` reads them.

    Returns:
        uint8, of the shape of `stored`; 0 is black. What is doubtful of it.

    Raises:
        RadiographError: infinite values, or a damaged look-up table.
    """
    checks: list[Check] = []
    bits = elements.BitsStored
    codes = np.arange(1 << bits)
    values = codes - ((codes & (1 << bits - 1)) << 1) if elements.PixelRepresentation else codes
    padding = _padding(values, elements)
    modality_values = _modality_values(values, elements, checks)
    levels = _looked_up_levels(modality_values, elements, checks)
    if levels is None:
        levels = _windowed_levels(modality_values, elements, checks)
    if levels is None:
        levels = _spread(modality_values, modality_values.min(), modality_values.max()) if bits <= 8 else None
    if levels is None:
        levels = _full_range(modality_values, stored, padding)
        message = (
            "The file names no window or look-up table that can be used: black and white were set by its pixels, from"
            " the 0.1st to the 99.9th percentile."
        )
        checks.append(Check("window", "warned", message))
    if _inverse(elements, checks):
        levels = 255 - levels
    levels[padding] = 0
    table = np.zeros(1 << 8 * stored.itemsize, np.uint8)  # of full length for OpenCV, five times as fast as NumPy
    table[: len(levels)] = np.rint(levels).clip(0, 255)
    return np.asarray(cv2.LUT(stored, table), dtype=np.uint8), tuple(checks)


def _padding(values: npt.NDArray[np.intp], elements: Elements) -> npt.NDArray[np.bool_]:
    """Return which of the stored values stand for padding (PS3.3, C.7.5.1.1.2)."""
    first = elements.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(values), bool)
    last = elements.get("PixelPaddingRangeLimit", first)
    if elements.PixelRepresentation:  # it is a stored value, signed as these are, however it is coded
        first, last = ((number + 0x8000) % 0x10000 - 0x8000 for number in (first, last))
    else:
        first, last = first % 0x10000, last % 0x10000
    return np.asarray((values >= min(first, last)) & (values <= max(first, last)), bool)


def _modality_values(values: npt.NDArray[np.intp], elements: Elements, checks: list[Check]) -> Doubles:
    """Apply the modality LUT or the rescale."""
    plain = values.astype(np.float64)
    table = _table(elements, "ModalityLUTSequence")
    if table is not None:
        return _looked_up(plain, table)[0]
    slope, intercept = elements.get("RescaleSlope"), elements.get("RescaleIntercept")
    if slope is None and intercept is None:
        return plain
    if not slope or intercept is None:
        message = "RescaleSlope is 0 or absent, or RescaleIntercept is absent; neither was used."
        checks.append(Check("rescale", "warned", message))
        return plain
    with np.errstate(over="ignore"):
        rescaled = plain * float(slope) + float(intercept)
    if not np.isfinite(rescaled).all():
        raise RadiographError("RescaleSlope and RescaleIntercept give infinite values; finite ones are accepted")
    return np.asarray(rescaled, np.float64)


def _table(elements: Elements, name: str) -> Dataset | None:
    """Return the first look-up table of a sequence that has data."""
    items: Iterable[Dataset] = elements.get(name, ())
    for item in items:
        if "LUTData" in item and item.get_item("LUTData").value:
            return item
    return None


def _looked_up(values: Doubles, table: Dataset) -> tuple[Doubles, int, int]:
    """Look values up in a table, beyond its ends the first and the last entry (C.11.1.1.1).

    The first value mapped may be negative and coded as unsigned: it is negative if any of the values is. Or it is coded
    as signed and is not: then the table would end before the lowest of the values, if none of these is negative.

    Returns:
        The entries, how many bits they are said to have, and the largest of the table.
    """
    descriptor = numbers(table.get_item("LUTDescriptor")) if "LUTDescriptor" in table else []
    if len(descriptor) != 3 or any(number is None for number in descriptor):
        raise RadiographError("LUTDescriptor has not three numbers")
    count, first, bits = (int(number or 0) for number in descriptor)
    count = count % 65536 or 65536
    lowest = values.min()
    if first >= 0x8000 and lowest < 0:
        first -= 0x10000
    elif first < 0 <= lowest and first + count <= lowest:
        first += 0x10000
    if not 8 <= bits <= 16:
        raise RadiographError(f"LUTDescriptor says {bits} bits an entry; 8 to 16 are accepted")
    entries = _entries(table.get_item("LUTData"), count, bits)
    if len(entries) < count:
        raise RadiographError("LUTData has fewer entries than LUTDescriptor says")
    entries = entries[:count]
    places = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    return entries[places].astype(np.float64), bits, int(entries.max())


def _entries(
    data: RawDataElement | DataElement, count: int, bits: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the entries of a table: words, or bytes if there are too few for words; two may share a word."""
    raw = data.value
    if not isinstance(data, RawDataElement) or not isinstance(raw, bytes):
        return np.atleast_1d(np.asarray(raw, np.uint16))
    if bits == 8 and len(raw) < 2 * count and data.VR == "OB":
        return np.frombuffer(raw, np.uint8)
    order = "<" if data.is_little_endian else ">"
    words = np.frombuffer(raw, f"{order}u2", len(raw) // 2).astype("<u2", copy=False)
    return words.view(np.uint8) if bits == 8 and len(words) < count else words


def _looked_up_levels(modality_values: Doubles, elements: Elements, checks: list[Check]) -> Doubles | None:
    """Apply the first VOI LUT; returns 0–255, or None if there is none."""
    table = _table(elements, "VOILUTSequence")
    if table is None:
        return None
    entries, bits, largest = _looked_up(modality_values, table)
    needed = largest.bit_length()
    if needed < bits:
        message = (
            f"The VOI look-up table is said to have {bits} bits, and its largest entry has {needed}: the image is"
            " darker than it may be meant to be."
        )
        checks.append(Check("look-up-table", "warned", message, needed, bits))
    elif needed > bits:
        message = f"The VOI look-up table is said to have {bits} bits and has {needed}, which were used."
        checks.append(Check("look-up-table", "warned", message, needed, bits))
    return entries * (255 / ((1 << max(bits, needed)) - 1))


def _windowed_levels(modality_values: Doubles, elements: Elements, checks: list[Check]) -> Doubles | None:
    """Apply the first window (C.11.2.1.2, C.11.2.1.3); returns 0–255, or None if there is none that can be used."""
    center, width = elements.get("WindowCenter"), elements.get("WindowWidth")
    if center is None and width is None:
        return None
    function = elements.get("VOILUTFunction", "LINEAR")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID", "DEFAULT"):
        message = "VOILUTFunction is not LINEAR, LINEAR_EXACT or SIGMOID; the window was taken as LINEAR."
        checks.append(Check("window-function", "warned", message))
    exact = function in ("LINEAR_EXACT", "SIGMOID")
    if center is None or width is None or (width <= 0 if exact else width < 1):
        needed = "above 0" if exact else "of 1 or more"
        message = f"The window was taken as absent: WindowCenter and a WindowWidth {needed} are needed."
        checks.append(Check("window-width", "warned", message, width))
        return None
    center, width = (float(center), float(width)) if exact else (center - 0.5, width - 1.0)
    with np.errstate(over="ignore"):  # far from a narrow window
        if function == "SIGMOID":
            return np.asarray(255 / (1 + np.exp(-4 * (modality_values - center) / width)), np.float64)
        if width == 0:
            return np.where(modality_values > center, 255.0, 0.0)
        return np.asarray(np.clip((modality_values - center) / width + 0.5, 0, 1) * 255, np.float64)


def _inverse(elements: Elements, checks: list[Check]) -> bool:
    """Return whether the lowest value is white: as the presentation LUT shape says, else MONOCHROME1."""
    lowest_white = bool(elements.PhotometricInterpretation == "MONOCHROME1")
    shape = elements.get("PresentationLUTShape")
    if shape is None:
        return lowest_white
    if shape not in ("IDENTITY", "INVERSE"):
        message = "PresentationLUTShape is not IDENTITY or INVERSE; it was taken as absent."
        checks.append(Check("presentation-shape", "warned", message))
        return lowest_white
    if (shape == "INVERSE") != lowest_white:
        message = (
            "PresentationLUTShape contradicts PhotometricInterpretation (INVERSE belongs to MONOCHROME1, IDENTITY to"
            " MONOCHROME2); the shape was followed, so black and white may be exchanged."
        )
        checks.append(Check("presentation-shape", "warned", message))
    return bool(shape == "INVERSE")


def _full_range(modality_values: Doubles, stored: Values, padding: npt.NDArray[np.bool_]) -> Doubles:
    """Spread the pixels' own range over 0–255, outliers and padding left out."""
    counts = cv2.calcHist([stored], [0], None, [len(modality_values)], [0, len(modality_values)]).ravel()
    counts[padding] = 0
    order = np.argsort(modality_values, kind="stable")
    below = np.cumsum(counts[order], dtype=np.float64)
    if not below[-1]:
        return np.zeros(len(modality_values))
    low, high = modality_values[order][np.searchsorted(below, np.array([OUTLIERS, 1 - OUTLIERS]) * below[-1])]
    return _spread(modality_values, low, high)


def _spread(modality_values: Doubles, low: float, high: float) -> Doubles:
    with np.errstate(over="ignore"):
        return np.asarray(np.clip((modality_values - low) / max(high - low, SMALLEST), 0, 1) * 255, np.float64)
