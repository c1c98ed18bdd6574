"""Read patient ids, so that one person has one id, however a spreadsheet spelled it."""

import re
import unicodedata

import numpy as np
import numpy.typing as npt
import pandas as pd

PATIENT_ID = re.compile(r"\w[\w .+-]{0,63}")
NUMBER = re.compile(r"0*(\d+)(?:\.0*)?", re.ASCII)
ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE | re.ASCII)
"""A long number as a spreadsheet shows it: digits are lost, and two patients may have become one."""
THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+", re.ASCII)
"""What is 1000 to one spreadsheet and 1 to another."""
NOBODY = ("", "nan", "na", "n/a", "none", "null")


def canonical_patient(patient: str) -> str:
    """Return the one spelling of a patient id: `13` for `13.0`, `00013` and ` 13`, lower case for others.

    Blanks in a row count as one; the composition and the width of letters and digits make no difference.
    """
    text = _composed(patient)
    number = NUMBER.fullmatch(text)
    return number[1] if number else _composed(unicodedata.normalize("NFKD", text).casefold())


def _composed(text: str) -> str:
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).split())


def read_patients(cells: "pd.Series[str]", prefix: str) -> tuple["pd.Series[str]", npt.NDArray[np.object_], list[str]]:
    """Read N patient ids.

    Args:
        cells: the ids.
        prefix: what to put before each.

    Returns:
        N canonical ids; N reasons, empty where there is none; and notes on ids of several spellings.
    """
    codes, texts = pd.factorize(cells)
    canonical = np.array([prefix + canonical_patient(text) for text in texts], dtype=object)
    reasons = np.array([_fault(_composed(text)) for text in texts], dtype=object)
    return pd.Series(canonical[codes], index=cells.index), reasons[codes], _note_spellings(list(texts))


def _fault(text: str) -> str:
    if text.casefold() in NOBODY:
        return "no patient id: the cell is empty; fill it in"
    if ROUNDED.fullmatch(text):
        return "rounded patient id: one such as 1.2E+10 has lost digits in a spreadsheet; export the column as text"
    if THOUSANDS.fullmatch(text):
        return "doubtful patient id: its points may part thousands or decimals; write it without, as text"
    if PATIENT_ID.fullmatch(text) is None:
        return "unreadable patient id: expected 64 letters, digits, spaces, _, ., + and - at most, no sign first"
    return ""


def _note_spellings(texts: list[str]) -> list[str]:
    """Note ids of more than one spelling that are not numbers."""
    spellings: dict[str, set[str]] = {}
    for text in texts:
        if NUMBER.fullmatch(_composed(text)) is None:
            spellings.setdefault(canonical_patient(text), set()).add(text.strip())
    several = sum(len(found) > 1 for found in spellings.values())
    return [f"patients: {several} ids are spelled in several ways and count as one each"] if several else []
