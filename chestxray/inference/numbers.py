"""Define the numbers and texts that a bundle may hold: strict, finite and bounded, whoever wrote it."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text for people must be printable")
    return text


Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Probability = Annotated[Finite, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Cases = Annotated[Count, Field(ge=1)]
"""Of which a share is: of none there is no share."""
Text = Annotated[str, Field(max_length=2_000), AfterValidator(_check_printable)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
