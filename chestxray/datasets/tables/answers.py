"""Read what a table answers about findings: lists of labels, and columns of yes and no."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.tables.label_names import LabelNames
from chestxray.datasets.tables.rejections import given

BLANK = 0
ABSENT = 1
UNCERTAIN = 2
PRESENT = 3
"""Of two answers on one finding the greater one holds."""

Answers = npt.NDArray[np.uint8]
"""`(N, findings)`, an image a row."""
Faults = npt.NDArray[np.object_]
"""`(N,)` of reasons, empty where there is none."""

WORDS = {
    **dict.fromkeys(("", "nan", "na", "n/a", "null", "none"), BLANK),
    **dict.fromkeys(("0", "0.0", "false", "no", "n"), ABSENT),
    **dict.fromkeys(("-1", "-1.0", "uncertain"), UNCERTAIN),
    **dict.fromkeys(("1", "1.0", "true", "yes", "y"), PRESENT),
}
ALLOWED = "1, 0, -1 (uncertain), true, false, yes, no, or nothing (unknown)"
QUOTED = re.compile(r"""'([^']*+)'|"([^"]*+)\"""")
ITEM = r"""(?:'[^']*+'|"[^"]*+")\s*+"""
QUOTED_LIST = re.compile(rf"\s*+(?:{ITEM}(?:,\s*+{ITEM})*(?:,\s*+)?)?")
"""What stands between the brackets of a whole list of quoted labels.

No group is possessive: Python before 3.11.5 forgets to step back from one (cpython#106052).
"""
FRAGMENT = re.compile(r"""^[\[{'"]|^\(\s*+['"]|^\([^)]*+$|['"]$|^[^\[\]]*+\]$|^[^{}]*+}$""")
"""What no label looks like: a part of a list that was cut, or quoted in part."""
UNREADABLE = "unreadable labels: the list is not whole; expected ['mass', 'nodule'] or labels joined by | or ; or ,"
NOTHING = ("", "nan")
"""What pandas makes of an empty cell."""
MAX_LABEL = 100
"""Characters of a label that are kept."""


def read_column(cells: "pd.Series[str]", finding: str) -> tuple[npt.NDArray[np.uint8], Faults]:
    """Read a column of yes and no.

    Args:
        cells: N of them.
        finding: what it is about, for the reasons.

    Returns:
        N answers, and N reasons, empty where the cell was read.
    """
    codes, words = pd.factorize(cells)
    answers = [WORDS.get(word.casefold()) for word in words]
    reasons = [
        "" if answer is not None else f"unreadable label: {finding} is {given(word)}; allowed are {ALLOWED}"
        for answer, word in zip(answers, words, strict=True)
    ]
    known = np.array([BLANK if answer is None else answer for answer in answers], np.uint8)
    return known[codes], np.array(reasons, dtype=object)[codes]


@dataclass(frozen=True)
class ListAnswers:
    """What lists of labels say.

    Attributes:
        answers: a finding that a list names is present, the others absent; all blank for an empty list.
        faults: lists that can't be read or contradict themselves; they say nothing of a finding.
        named: the labels that occur.
        unknown: how many rows have each label that nobody knows.
    """

    answers: Answers
    faults: Faults
    named: frozenset[str]
    unknown: Counter[str]


def read_lists(cells: "pd.Series[str]", names: LabelNames, *, exclusive: bool) -> ListAnswers:
    """Read N cells with a list of labels, each distinct cell once.

    Args:
        cells: labels joined by `|`, `;` or `,`, or quoted ones in brackets.
        names: what the labels mean.
        exclusive: whether `No Finding` beside a finding is a fault.
    """
    codes, texts = pd.factorize(cells)
    rows = np.bincount(codes, minlength=len(texts))
    answers = np.zeros((len(texts), len(names.findings)), np.uint8)
    faults = np.full(len(texts), "", dtype=object)
    named: set[str] = set()
    unknown: Counter[str] = Counter()
    place = {finding: column for column, finding in enumerate(names.findings)}
    for number, text in enumerate(texts):
        parts = split_labels(text, names)
        if parts is None:
            faults[number] = UNREADABLE
        if not parts:
            continue
        labels = sorted(set(parts))
        answers[number] = ABSENT
        for label in labels:
            finding = names.find(label)
            if finding in place:
                answers[number, place[finding]] = PRESENT
            elif finding is None and not names.is_no_finding(label):
                unknown[label] += int(rows[number])
        named.update(labels)
        if exclusive and any(map(names.is_no_finding, labels)) and (answers[number] == PRESENT).any():
            faults[number] = "contradiction: No Finding beside a finding; leave one of them"
    return ListAnswers(answers[codes], faults[codes], frozenset(named), unknown)


def split_labels(text: str, names: LabelNames) -> list[str] | None:
    """Split a list of labels; a label that is known as a whole may hold a comma or a semicolon.

    Returns:
        The labels without empty ones; None for a list that is cut or quoted in part.
    """
    labels: list[str] = []
    brackets, inside = text[:1] + text[-1:], text[1:-1]
    if brackets in ("[]", "()") and QUOTED_LIST.fullmatch(inside):
        labels = [a or b for a, b in QUOTED.findall(inside)]
    else:
        for part in (inside if brackets == "[]" else text).split("|"):
            labels += [part] if names.find(part) is not None else re.split("[;,]", part)
        if any(FRAGMENT.search(label.strip()) and names.find(label) is None for label in labels):
            return None
    kept = [label.strip()[:MAX_LABEL] for label in labels]
    return [label for label in kept if label.casefold() not in NOTHING]


def final_labels(answers: Answers, uncertain: str) -> npt.NDArray[np.int8]:
    """Return labels of 1 (present), 0 (absent) and -1 (not labelled).

    Args:
        answers: of a table.
        uncertain: what an uncertain one counts as: unknown, positive or negative.
    """
    doubt = {"unknown": -1, "positive": 1, "negative": 0}[uncertain]
    return np.array([-1, 0, doubt, 1], np.int8)[answers]
