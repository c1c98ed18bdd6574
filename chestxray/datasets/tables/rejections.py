"""Keep what of a batch can't be used, where it stands and why, and sum it up for a person."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from chestxray.system.files import FORMULA

COLUMNS = ["image", "where", "reason"]
NUMBER = re.compile(r"[+-]?\d{0,6}(?:[.,]\d{0,6})?", re.ASCII)
"""One that is short enough to be no name of a person or a study."""
MAX_SHOWN = 200
"""Characters of a name or a reason that are shown."""
NOT_FRONTAL = "not frontal"
"""The kind of what is fine but shows no frontal view."""


class Rejection(NamedTuple):
    """Something left out.

    Attributes:
        image: its name as the table or the folder has it.
        where: file and row, such as "train.csv row 17", or the path of an image; empty where neither is known.
        reason: what kind of fault it is, and after a colon what was given, what is allowed and the mend.
    """

    image: str
    where: str
    reason: str


def shown(name: str) -> str:
    """Return a name from outside for a message: as it is when it is harmless, else cut, quoted and escaped."""
    harmless = name and len(name) <= MAX_SHOWN and name.isprintable() and not name.startswith(FORMULA)
    return name if harmless else ascii(name[:MAX_SHOWN])


def given(cell: str) -> str:
    """Return what a message says of a cell: a number as it is, of a text, which may be about a patient, its length."""
    return cell if NUMBER.fullmatch(cell) else f"a text of {len(cell)} characters"


def rejection_table(rejections: Iterable[Rejection]) -> pd.DataFrame:
    """Return `image`, `where` and `reason` of each, sorted; an unsafe name stands quoted and escaped."""
    lines = sorted((shown(image), reason, where) for image, where, reason in rejections)
    frame = pd.DataFrame(lines, columns=["image", "reason", "where"], dtype="str")
    return frame[COLUMNS]


def count_reasons(rejected: pd.DataFrame, kinds: int) -> list[str]:
    """Count what was rejected by kind of reason, the most frequent first, each with an example by file and row.

    Args:
        rejected: `image`, `where` and `reason`.
        kinds: how many at most are listed.
    """
    by_kind = rejected["reason"].map(lambda reason: reason.partition(": ")[0])
    counts = by_kind.value_counts()
    first = rejected[~by_kind.duplicated()].set_index(by_kind[~by_kind.duplicated()])
    lines = []
    for kind, count in counts.head(kinds).items():
        example = first.loc[str(kind)]
        place = f"{example['where']}: " if example["where"] else ""
        detail = example["reason"].partition(": ")[2]
        lines.append(f"{count}× {kind}, such as {place}{example['image']}" + (f" ({detail})" if detail else ""))
    more = len(counts) - kinds
    return [*lines, f"… and {more} other kinds of reason"] if more > 0 else lines
