"""Check by its header whether a DICOM image is a frontal chest radiograph, and turn it upright.

What is refused, what is warned of, and why: docs/decisions/dicom-projection.md. No text of the file is quoted.
"""

import cv2
import numpy as np

from chestxray.imaging.dicom.description import Elements
from chestxray.imaging.dicom.numbers import texts
from chestxray.imaging.dicom.terms import body_part_of_code, body_parts, view_of_code, view_position, views
from chestxray.imaging.radiograph import Check, Pixels

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription")
OPPOSITE = {"L": "R", "R": "L", "H": "F", "F": "H", "A": "P", "P": "A"}


def header_checks(elements: Elements) -> tuple[Check, ...]:
    """Return what the header says against a frontal radiograph of the chest that is meant to be looked at.

    Args:
        elements: of the header, as `chestxray.imaging.dicom.description.read_elements` reads them.
    """
    found = (
        _body_part(elements),
        _view_position(elements),
        _intent(elements),
        _description(elements),
    )
    return tuple(check for check in found if check is not None)


def view_of(elements: Elements) -> str | None:
    """Return the view position as a defined term, such as "PA", "AP" or "LL"; None if the header names none."""
    named = view_position(elements.get("ViewPosition", ""))
    return named or view_position("", _code(elements, "ViewCodeSequence")[0])


def orientation_of(elements: Elements) -> str | None:
    """Return the directions of the patient that rows and columns run to, such as "L\\F"; None if none are named."""
    row, column = _directions(elements)
    return f"{row}\\{column}" if {row, column} <= OPPOSITE.keys() else None


def _directions(elements: Elements) -> tuple[str, str]:
    """Return the first letters of the directions of rows and columns; further ones say that a patient was turned."""
    given = elements.get("PatientOrientation", ())
    return (str(given[0])[:1], str(given[1])[:1]) if len(given) == 2 else ("", "")


def upright(pixels: Pixels, elements: Elements) -> tuple[Pixels, tuple[Check, ...]]:
    """Turn a frontal image so that its rows run to the patient's left and its columns to the feet.

    Args:
        pixels: uint8, height × width.
        elements: of the header.

    Returns:
        The pixels, height × width or width × height, and what was done or is wrong.
    """
    given = elements.get("PatientOrientation")
    if given is None:
        return pixels, ()
    row, column = _directions(elements)
    axes = {frozenset({letter, OPPOSITE.get(letter, "")}) for letter in (row, column)}
    frontal = axes == {frozenset("LR"), frozenset("HF")}
    if not frontal:
        return pixels, (_not_frontal(row, column, elements),)
    checks = [] if tuple(given)[:2] == ("L", "F") else [_turned(row, column)]
    if (row, column) == ("L", "F"):
        return pixels, tuple(checks)
    if row in "HF":
        pixels, row, column = np.asarray(cv2.transpose(pixels), np.uint8), column, row
    if row == "R":
        pixels = pixels[:, ::-1]
    if column == "H":
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels), tuple(checks)


def _turned(row: str, column: str) -> Check:
    if (row, column) == ("L", "F"):
        message = "PatientOrientation says that the patient was turned a little; L\\F is a frontal view."
    elif (row, column) == ("R", "F"):
        message = (
            "PatientOrientation is R\\F: the image was mirrored, so that its rows run to the patient's left (L\\F)."
        )
    else:
        message = f"PatientOrientation is {row}\\{column}: the image was turned upright (L\\F)."
    return Check("patient-orientation", "warned", message)


def _not_frontal(row: str, column: str, elements: Elements) -> Check:
    known = {row, column} <= OPPOSITE.keys()
    if not known or frozenset({row, column}) in (frozenset(row), frozenset({row, OPPOSITE[row]})):
        message = "PatientOrientation names no two directions of a patient; L\\F is that of a frontal view."
        return Check("patient-orientation", "warned", message)
    message = f"PatientOrientation is {row}\\{column}, which is no frontal view; L\\F is that of one."
    contradicted = "frontal" in views(elements.get("ViewPosition", ""))
    return Check("patient-orientation", "warned" if contradicted else "refused", message)


def _code(elements: Elements, name: str) -> tuple[str, str]:
    """Return code and meaning of the first item of a sequence of codes, "" for what is absent."""
    for item in elements.get(name, ()):
        code, meaning = (texts(item.get_item(part)) if part in item else [] for part in ("CodeValue", "CodeMeaning"))
        return (code[0] if code else "", " ".join(meaning))
    return "", ""


def _body_part(elements: Elements) -> Check | None:
    named = body_parts(elements.get("BodyPartExamined", ""))
    found = named | body_part_of_code(*_code(elements, "AnatomicRegionSequence"))
    accepted = "CHEST, THORAX and LUNG are accepted."
    name = "BodyPartExamined" if named else "AnatomicRegionSequence"
    if "other" in found and not found & {"chest", "near"}:
        return Check("body-part", "refused", f"{name} is another part of the body; {accepted}")
    if "other" in found:
        return Check("body-part", "warned", f"{name} names another part of the body beside the chest; {accepted}")
    if "chest" not in found and found:
        what = "a part beside the lungs, or the whole body" if "near" in found else "no known part of the body"
        return Check("body-part", "warned", f"{name} is {what}; {accepted}")
    return None


def _view_position(elements: Elements) -> Check | None:
    named = views(elements.get("ViewPosition", ""))
    found = named | view_of_code(*_code(elements, "ViewCodeSequence"))
    accepted = "frontal views, PA and AP, are accepted."
    name = "ViewPosition" if named else "ViewCodeSequence"
    aside = found & {"lateral", "oblique"}
    if aside and "frontal" in found:
        return Check("view-position", "warned", f"{name} names a frontal view and another; {accepted}")
    if aside:
        kind = "a lateral" if "lateral" in found else "an oblique"
        return Check("view-position", "refused", f"{name} is {kind} view; {accepted}")
    if "decubitus" in found:
        message = f"{name} is a view of a patient lying on the side, where air and fluid lie elsewhere; {accepted}"
        return Check("view-position", "warned", message)
    if found == {"unknown"}:
        return Check("view-position", "warned", f"{name} is no known view; {accepted}")
    return None


def _intent(elements: Elements) -> Check | None:
    if elements.get("SOPClassUID") != FOR_PROCESSING and elements.get("PresentationIntentType") != "FOR PROCESSING":
        return None
    message = (
        "The image is FOR PROCESSING: it was not processed to be looked at, and has other contrasts than the images"
        " learned from; FOR PRESENTATION is accepted."
    )
    return Check("presentation-intent", "warned", message)


def _description(elements: Elements) -> Check | None:
    """Check what people wrote, which may speak of other images of the series or study as well."""
    for name in DESCRIPTIONS:
        text = elements.get(name, "")
        seen, parts = views(text, whole_value=False), body_parts(text, whole_value=False)
        if seen & {"lateral", "oblique", "decubitus"} and "frontal" not in seen:
            message = f"{name} speaks of a view that is not frontal; frontal views, PA and AP, are accepted."
            return Check("series-description", "warned", message)
        if "other" in parts and not parts & {"chest", "near"}:
            message = f"{name} speaks of another part of the body; radiographs of the chest are accepted."
            return Check("series-description", "warned", message)
    return None
