"""Describe how a model does on a group of the test images, a row of `reports/subgroups.csv`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chestxray.findings import MAX_NAME
from chestxray.inference.numbers import Count, Finite, Probability

ANY = "any finding"
"""Stands for all findings that are decided on: an image has it if it has one of them, and lacks it if it lacks all."""
MAX_SUBGROUPS = 5000
"""Rows of a card at most."""


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("the name of a group must be printable")
    return text


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_check_printable)]
Difference = Annotated[Finite, Field(ge=-1.0, le=1.0)]


class Subgroup(BaseModel):
    """A finding in a group; None is what does not exist, or what too few patients show.

    `<measure>_ci_low` and `_ci_high` are a 95 % interval over patients; `_difference` is to the mean of the attribute's
    other groups, and `_p` that of its test, corrected for the groups (Holm).

    Attributes:
        attribute: sex, age, view or batch.
        group: its name.
        finding: or `ANY`.
        images: that label the finding.
        patients: with such an image.
        positives: images with the finding.
        underdiagnosis: of `ANY` alone: share of images with a finding in which none is detected.
        calibration_error: has no interval (docs/decisions/intervals.md).
        suppressed: names of the measures that are left empty since too few patients show them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: Literal["sex", "age", "view", "batch"]
    group: Name
    finding: Name
    images: Count
    patients: Count
    positives: Count
    auroc: Probability | None = None
    auroc_ci_low: Probability | None = None
    auroc_ci_high: Probability | None = None
    auroc_difference: Difference | None = None
    auroc_p: Probability | None = None
    sensitivity: Probability | None = None
    sensitivity_ci_low: Probability | None = None
    sensitivity_ci_high: Probability | None = None
    sensitivity_difference: Difference | None = None
    sensitivity_p: Probability | None = None
    specificity: Probability | None = None
    specificity_ci_low: Probability | None = None
    specificity_ci_high: Probability | None = None
    specificity_difference: Difference | None = None
    specificity_p: Probability | None = None
    underdiagnosis: Probability | None = None
    underdiagnosis_ci_low: Probability | None = None
    underdiagnosis_ci_high: Probability | None = None
    underdiagnosis_difference: Difference | None = None
    underdiagnosis_p: Probability | None = None
    calibration_error: Probability | None = None
    suppressed: Annotated[str, Field(pattern=r"^[a-z_ ]{0,100}$")] = ""
