"""Define the numbers that a bundle may hold: strict and finite, whoever wrote it."""

from typing import Annotated

from pydantic import Field

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Probability = Annotated[Finite, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(strict=True, ge=0)]
