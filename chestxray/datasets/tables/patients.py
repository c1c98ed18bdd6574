"""Read patient ids, so that one person has one id, however a spreadsheet spelled it."""

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

PATIENT_ID = re.compile(r"\w[\w .+-]{0,63}")
NUMBER = re.compile(r"0*(\d+)(?:\.0*)?", re.ASCII)
ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE | re.ASCII)
"""A long number as a spreadsheet shows it: digits are lost, and two patients may have become one."""
NOBODY = ("", "nan", "na", "n/a", "none", "null")


def canonical_patient(patient: str) -> str:
    """Return the one spelling of a patient id: `13` for `13.0`, `00013` and ` 13`, lower case for others."""
    text = patient.strip()
    number = NUMBER.fullmatch(text)
    return number[1] if number else text.casefold()


def read_patients(cells: "pd.Series[str]", prefix: str) -> tuple["pd.Series[str]", npt.NDArray[np.object_], list[str]]:
    """Read N patient ids.

    Args:
        cells: the ids.
        prefix: what to put before each.

    Returns:
        N canonical ids; N reasons, empty where there is none; and notes on ids that differ only in case.
    """
    codes, texts = pd.factorize(cells)
    canonical = np.array([prefix + canonical_patient(text) for text in texts], dtype=object)
    reasons = np.array([_fault(text) for text in texts], dtype=object)
    return pd.Series(canonical[codes], index=cells.index), reasons[codes], _note_case(list(texts))


def _fault(text: str) -> str:
    if text.casefold() in NOBODY:
        return "no patient id: the cell is empty; fill it in"
    if ROUNDED.fullmatch(text):
        return f"rounded patient id: {text[:70]!a} has lost digits in a spreadsheet; export the column as text"
    if PATIENT_ID.fullmatch(text) is None:
        return "unreadable patient id: expected 64 letters, digits, spaces, _, ., + and - at most, no sign first"
    return ""


def _note_case(texts: list[str]) -> list[str]:
    """Note ids of more than one spelling that are not numbers."""
    spellings: dict[str, set[str]] = {}
    for text in texts:
        if NUMBER.fullmatch(text.strip()) is None:
            spellings.setdefault(canonical_patient(text), set()).add(text.strip())
    several = sum(len(found) > 1 for found in spellings.values())
    return [f"patients: {several} ids are spelled in several cases and count as one each"] if several else []
