"""Describe the band of probabilities in which a finding is neither shown to be present nor shown to be absent."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from chestxray.inference.numbers import Probability
from chestxray.inference.operating_point import Rate


class UncertainBand(BaseModel):
    """Probabilities, both ends included, in which a person should look rather than the model decide.

    Attributes:
        low: an image with the finding lies below it with `error` at most.
        high: an image without the finding lies above it with `error` at most.
        error: that was asked for, of a new patient's image.
        inside: share of the test images that label it which lie in the band.
        present_below: share of the test images with the finding that lie below it; None if there are none.
        absent_above: share of those without it that lie above it; None if there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Probability
    high: Probability
    error: Probability
    inside: Rate | None
    present_below: Rate | None
    absent_above: Rate | None

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.low > self.high:
            raise ValueError("a band's lower end lies below its upper end")
        return self

    def holds(self, probability: float) -> bool:
        """Say whether a probability lies in the band."""
        return self.low <= probability <= self.high
