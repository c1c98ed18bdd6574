"""Describe how well the maps of a finding find its boxes in test images, beside the finding's mean place."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from chestxray.inference.numbers import Count, Finite
from chestxray.inference.operating_point import Rate

Explanation = Literal["shown", "unproven"]
"""Of a finding: whether its maps are shown to find the place in an image better than its usual place does."""


class Difference(BaseModel):
    """A difference of two means in -1..1, with the ends of its 95 % interval over patients; None if too few."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Finite
    low: Finite | None
    high: Finite | None
    n: Count

    @model_validator(mode="after")
    def _check_ends(self) -> "Difference":
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        return self


class Compared(BaseModel):
    """A measure of the maps, and of the mean box of the finding in other patients.

    Attributes:
        map: mean over the images with boxes of the finding.
        mean_box: the same; None if no other patient has boxes.
        gain: map less mean box, over the images that have both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Rate
    mean_box: Rate | None
    gain: Difference | None


class Located(BaseModel):
    """How well the maps of a finding find its boxes; n counts test images that have some.

    Attributes:
        pixel_auroc: how well heat ranks the pixels of the place above others; its gain decides `explanation`.
        pointing_game: share of the images in which the hottest pixel lies in a box.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_auroc: Compared
    pointing_game: Compared
