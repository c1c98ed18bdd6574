"""Describe the image of a DICOM file by its elements: what they say, what they leave out, and whether it can be used.

The rules, and why they are so: docs/decisions/dicom-values.md.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement

from chestxray.imaging.dicom.numbers import numbers, texts
from chestxray.imaging.radiograph import Check, RadiographError

REAL = ("WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope")
WHOLE = (
    "PixelRepresentation", "SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
"""Read in this order: PixelRepresentation first, which says whether words such as PixelPaddingValue are signed."""
WORDS = (
    "SOPClassUID", "Modality", "PhotometricInterpretation", "PresentationLUTShape", "VOILUTFunction",
    "PresentationIntentType", "BodyPartExamined", "ViewPosition", "PatientOrientation", "SeriesDescription",
    "StudyDescription", "ProtocolName",
)  # fmt: skip
TABLES = ("VOILUTSequence", "ModalityLUTSequence")
CODES = ("AnatomicRegionSequence", "ViewCodeSequence")

MODALITIES = frozenset({"CR", "DX", "DR", "RG", "OT"})
"""Of radiography; DR is what old devices write for DX, RG is a film that was scanned, OT says nothing."""

PROJECTIONS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray, for processing
    }
)
SECONDARY_CAPTURES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.7.2",  # multi-frame, grey bytes
        "1.2.840.10008.5.1.4.1.1.7.3",  # multi-frame, grey words
        "1.2.840.10008.5.1.4.1.1.7.4",  # multi-frame, colour
    }
)
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
MIN_BITS = 6


class Elements(SimpleNamespace):
    """The elements that a file has, by keyword: numbers, words, and the items of sequences."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return an element, or the default if it is absent."""
        return getattr(self, name, default)


def read_elements(
    raw: Mapping[str, RawDataElement | DataElement], class_of_meta: str, compressed: bool
) -> tuple[Elements, tuple[Check, ...]]:
    """Read the elements, and fill in what is left out and has one meaning.

    Of numbers the first value is kept; one that can't be read is left out. Words are in upper case and without padding.

    Args:
        raw: elements as in the file, of known lengths.
        class_of_meta: MediaStorageSOPClassUID, which counts where the data set has no SOPClassUID; may be "".
        compressed: whether the pixels are a codestream, which has no bits but those stored.

    Returns:
        The elements of `REAL`, `WHOLE`, `WORDS`, `TABLES` and `CODES` that there are, and what is doubtful of them.
    """
    elements = Elements()
    checks: list[Check] = []
    for name in (*WHOLE, *REAL):
        if name in raw:
            _add_number(elements, name, raw[name], checks)
    for name in WORDS:
        words = texts(raw[name]) if name in raw else []
        if words:
            setattr(elements, name, words if name == "PatientOrientation" else words[0])
    for name in (*TABLES, *CODES):
        if name in raw:
            setattr(elements, name, raw[name].value)
    if elements.get("SOPClassUID") is None and class_of_meta:
        elements.SOPClassUID = class_of_meta
    _complete(elements, compressed, checks)
    return elements, tuple(checks)


def _add_number(elements: Elements, name: str, element: RawDataElement | DataElement, checks: list[Check]) -> None:
    values = numbers(element, signed=elements.get("PixelRepresentation") == 1)
    number = values[0] if values else None
    if number is not None and (name not in WHOLE or number.is_integer()):
        setattr(elements, name, int(number) if name in WHOLE else number)
    elif values:
        kind = "whole number" if name in WHOLE else "number"
        checks.append(Check("header-number", "warned", f"{name} is no {kind}; it was taken as absent."))


def _complete(elements: Elements, compressed: bool, checks: list[Check]) -> None:
    """Fill in what has one meaning if it is absent."""
    for name, default in (("SamplesPerPixel", 1), ("NumberOfFrames", 1), ("PlanarConfiguration", 0)):
        setattr(elements, name, elements.get(name, default))
    if elements.get("PixelRepresentation") not in (0, 1):
        message = "PixelRepresentation is neither 0 nor 1; the values were taken as unsigned."
        checks.append(Check("pixel-representation", "warned", message))
        elements.PixelRepresentation = 0
    if elements.get("BitsStored") is None:
        return
    usual = elements.BitsStored - 1
    high = elements.get("HighBit", usual)
    if high != usual and (compressed or not usual < high < elements.get("BitsAllocated", 0)):
        message = f"HighBit is {high} for {elements.BitsStored} bits stored; it was taken as {usual}."
        checks.append(Check("high-bit", "warned", message))
        high = usual
    elements.HighBit = high


def check_described(elements: Elements, max_pixels: int) -> None:
    """Refuse what is not one radiograph of grey pixels, by its description.

    Raises:
        RadiographError: naming the element, and what would be accepted.
    """
    _check_origin(elements)
    if elements.NumberOfFrames not in (0, 1):
        raise RadiographError(f"NumberOfFrames is {elements.NumberOfFrames}; one frame is accepted", "not-a-radiograph")
    _check_colour(elements)
    for name in ("Rows", "Columns", "BitsAllocated", "BitsStored"):
        if elements.get(name, 0) <= 0:
            raise RadiographError(f"{name} is absent or no number above 0")
    rows, columns = elements.Rows, elements.Columns
    if rows * columns > max_pixels:
        raise RadiographError(f"{columns}×{rows} pixels are more than {max_pixels:,}", "image-too-large")
    allocated, stored = elements.BitsAllocated, elements.BitsStored
    if allocated not in (8, 16):
        raise RadiographError(f"BitsAllocated is {allocated}; 8 and 16 are accepted", "unsupported-format")
    if not MIN_BITS <= stored <= allocated:
        raise RadiographError(
            f"BitsStored is {stored} with BitsAllocated {allocated}; {MIN_BITS} to BitsAllocated are accepted",
            "unsupported-format" if 0 < stored < MIN_BITS else "unreadable-image",
        )


def _check_origin(elements: Elements) -> None:
    """Refuse what neither a detector of radiographs nor a scanner of films wrote."""
    origin, modality = elements.get("SOPClassUID"), elements.get("Modality")
    if origin is not None and origin not in PROJECTIONS | SECONDARY_CAPTURES:
        raise RadiographError("SOPClassUID is not of CR, DX or secondary capture", "not-a-radiograph")
    if modality is not None and modality not in MODALITIES:
        raise RadiographError("Modality is not CR, DX, DR, RG or OT", "not-a-radiograph")
    if origin is None and modality in (None, "OT"):
        raise RadiographError(
            "neither SOPClassUID nor Modality says that it is a radiograph; SOPClassUID of CR, DX or secondary capture"
            " or Modality CR, DX, DR or RG are accepted",
            "not-a-radiograph",
        )


def _check_colour(elements: Elements) -> None:
    """Refuse what can't be grey."""
    samples, kind = elements.SamplesPerPixel, elements.get("PhotometricInterpretation")
    if (samples, kind) in {*((1, grey) for grey in MONOCHROME), *((3, colour) for colour in COLOURS)}:
        return
    if kind is None:
        raise RadiographError("PhotometricInterpretation is absent; MONOCHROME1 and MONOCHROME2 are accepted")
    raise RadiographError(
        f"PhotometricInterpretation is not MONOCHROME1 or MONOCHROME2, nor RGB or YBR of grey pixels, with"
        f" SamplesPerPixel {samples}",
        "not-a-radiograph",
    )
