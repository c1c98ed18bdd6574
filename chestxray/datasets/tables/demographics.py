"""Read age, sex and view position, and count what can't be read."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import pandas as pd

from chestxray.datasets.tables.rejections import shown

AGE = re.compile(r"0*(\d{1,3})(?:\.\d*)?\s*([YMWD]?)", re.IGNORECASE | re.ASCII)
UNITS_PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
MAX_AGE = 120

SEXES = {**dict.fromkeys(("m", "male", "man"), "M"), **dict.fromkeys(("f", "female", "woman", "w"), "F")}
FRONTAL: Final = ("PA", "AP")
LATERAL: Final = "LATERAL"
OTHER_VIEW: Final = "OTHER"
"""Oblique, decubitus, lordotic, of the ribs, and so on."""
VIEWS = {
    **dict.fromkeys(("pa", "posteroanterior", "postero-anterior", "posterior-anterior"), "PA"),
    **dict.fromkeys(("ap", "anteroposterior", "antero-posterior", "anterior-posterior", "ap_horizontal", "ap supine"),
                    "AP"),
    **dict.fromkeys(("l", "ll", "rl", "lat", "lateral", "left lateral", "right lateral", "xtable lateral"), LATERAL),
    **dict.fromkeys(("lao", "rao", "lpo", "rpo", "oblique", "costal", "exclude", "swimmers", "ap axial", "lordotic",
                     "ap lordotic", "ap lld", "ap rld", "pa lld", "pa rld", "lld", "rld"), OTHER_VIEW),
}  # fmt: skip
"""What tables call the views. See DICOM's View Position, and the columns of MIMIC-CXR and PadChest."""
NOTHING = frozenset(("", "nan", "na", "n/a", "none", "null", "u", "unk", "unknown", "frontal"))
"""Words that tell nothing; a frontal view of which the direction is not said is one."""


def parse_age(text: str) -> int | None:
    """Read an age such as `58`, `058Y`, `006M` (months), `012W` or `020D`.

    Returns:
        Whole years from 0 to 120, or None when unreadable or outside: an error of the data, not an age.
    """
    match = AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = int(match[1]) // UNITS_PER_YEAR[match[2].upper()]
    return years if years <= MAX_AGE else None


def parse_sex(text: str) -> str | None:
    """Read a sex as M or F; None for anything else."""
    return SEXES.get(text.strip().casefold())


def parse_view(text: str) -> str | None:
    """Read a view position as PA, AP, LATERAL or OTHER; None where it is not known."""
    return VIEWS.get(text.strip().casefold())


def read_demographics(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read the columns `age`, `sex` and `view` of a table, each where it is there.

    Returns:
        `age` (Int16), `sex` (str) and `view` (str), NA where unknown; and a note for each with cells that can't be
        read.
    """
    parsers: Mapping[str, Callable[[str], object]] = {"age": parse_age, "sex": parse_sex, "view": parse_view}
    columns = {}
    notes = []
    for name, parse in parsers.items():
        cells = rows[name] if name in rows else pd.Series("", index=rows.index, dtype=object)
        values = cells.map({text: parse(text) for text in cells.unique()})
        columns[name] = values.astype("Int16") if name == "age" else values.astype("str")
        unread = cells[columns[name].isna() & ~cells.str.casefold().isin(NOTHING)]
        if len(unread):
            example = shown(str(unread.iloc[0]))
            notes.append(f"{name}: {len(unread)} of {len(cells)} can't be read, such as {example}; unknown there")
    return pd.DataFrame(columns, index=rows.index), notes
