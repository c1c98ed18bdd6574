"""Say which findings a model has learned, by how many patients there were to learn them from and to check them on.

See docs/decisions/finding-status.md.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from chestxray.inference.numbers import Count

Status = Literal["learned", "insufficient", "not learned"]
"""Of a finding.

learned: its number is a probability, and its operating point decides.
insufficient: too few patients to learn it well, to calibrate it and to choose its operating point: its number is a
    score, and there is no decision unless the caller names a threshold.
not learned: training had no labels of both kinds: it has no number, and is never positive.
"""
STATUSES: tuple[Status, ...] = ("learned", "insufficient", "not learned")
"""From the most to the least that can be said of a finding."""
NUMBERS: dict[Status, str] = {"learned": "probability", "insufficient": "score"}
"""What the number of a finding is called by its status; one that is not learned has none."""
PATIENTS_UNKNOWN = "patients unknown: each image counts as one"
"""To be said of numbers where it is so: images of one person may have been both learned from and tested on."""
T = TypeVar("T")


class ClassPatients(BaseModel):
    """How many patients have at least one image that is labelled with the finding, and without it; one may be both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    present: Count
    absent: Count

    @property
    def rarer(self) -> int:
        """Patients of the class that has fewer."""
        return min(self.present, self.absent)


class Evidence(BaseModel):
    """The patients from whom a finding was learned, and those on whom its calibration and operating point stand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: ClassPatients
    validation: ClassPatients


def finding_status(evidence: Evidence, min_positives: int) -> Status:
    """Decide the status of a finding: the one rule, that every bundle, answer, table and figure goes by.

    Args:
        evidence: patients of each class.
        min_positives: patients of each class that training and validation need.

    Returns:
        `not learned` if training lacks a class; `insufficient` if a class has fewer patients than `min_positives` in
        training or in validation; else `learned`.

    Example:
        >>> many, few = ClassPatients(present=10, absent=90), ClassPatients(present=9, absent=90)
        >>> finding_status(Evidence(train=many, validation=few), min_positives=10)
        'insufficient'
    """
    if not evidence.train.rarer:
        return "not learned"
    return "learned" if min(evidence.train.rarer, evidence.validation.rarer) >= min_positives else "insufficient"


def has_number(status: Sequence[Status]) -> npt.NDArray[np.bool_]:
    """Return which findings have a number, a probability or a score: `(k,)`, all but those that are not learned."""
    return np.array([each in NUMBERS for each in status], bool)


def named_number(status: Status, number: T) -> dict[str, T | None]:
    """Return the number of a finding, or its numbers, under the name that its status gives; None under the others."""
    return {name: number if NUMBERS.get(status) == name else None for name in NUMBERS.values()}


def has_decision(status: Sequence[Status], asked: bool = False) -> npt.NDArray[np.bool_]:
    """Return which findings are decided on: `(k,)`, those learned, and where the caller `asked` by naming a threshold
    the insufficient ones too.
    """
    return np.array([each == "learned" or (asked and each == "insufficient") for each in status], bool)
