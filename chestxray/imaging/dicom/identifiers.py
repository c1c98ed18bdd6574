"""Read which study, series, image and patient a DICOM file says it is of: only for whoever asks for it."""

import re
from typing import NamedTuple

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from chestxray.imaging.dicom.header import open_elements
from chestxray.imaging.dicom.numbers import PADDING
from chestxray.imaging.dicom.recognition import first_element

UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
MAX_PATIENT_BYTES = 256
"""64 characters (PS3.5, LO) of up to four bytes."""
TAGS: list[BaseTag | int] = [
    Tag(name) for name in ("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
]
LAST = Tag("SeriesInstanceUID")


class Identifiers(NamedTuple):
    """What a file names; empty where it does not, or names what can't be an identifier.

    Attributes:
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        patient: PatientID; bytes that are no UTF-8, and what does not print, stand escaped.
    """

    study: str = ""
    series: str = ""
    instance: str = ""
    patient: str = ""


def read_identifiers(data: bytes) -> Identifiers:
    """Read the identifiers of a file, at the bounded cost of `header`.

    Args:
        data: the whole file.

    Returns:
        Them; all empty for what is no DICOM file, or one whose header is damaged.
    """
    if first_element(data) is None:
        return Identifiers()
    try:
        opened = open_elements(data)
        syntax = opened.syntax
        raw = read_dataset(
            opened.stream,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > LAST,
            specific_tags=TAGS,
        )
        return Identifiers(
            study=_uid(raw, "StudyInstanceUID"),
            series=_uid(raw, "SeriesInstanceUID"),
            instance=_uid(raw, "SOPInstanceUID"),
            patient=_patient(raw),
        )
    except Exception:  # pydicom raises anything for damaged files; decoding says what is wrong with them
        return Identifiers()


def _bytes(raw: Dataset, name: str) -> bytes:
    value = raw.get_item(name).value if name in raw else b""
    return value if isinstance(value, bytes) else b""


def _uid(raw: Dataset, name: str) -> str:
    text = _bytes(raw, name).decode("ascii", "replace").strip(PADDING)
    return text if UID.fullmatch(text) else ""


def _patient(raw: Dataset) -> str:
    value = _bytes(raw, "PatientID")
    if len(value) > MAX_PATIENT_BYTES:
        return ""
    text = value.decode("utf-8", "backslashreplace").strip(PADDING)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
