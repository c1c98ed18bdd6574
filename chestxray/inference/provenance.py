"""Say which images a model was trained and measured on: how many, of how many patients, and by which digest."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from chestxray.inference.numbers import Count

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SplitFacts(BaseModel):
    """One side of the split.

    Attributes:
        images: how many.
        patients: how many; as many as images where patients are not known.
        sha256: of the labels and decoded pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Count
    patients: Count
    sha256: Digest
