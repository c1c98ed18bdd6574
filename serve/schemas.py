"""Define what the service answers beside predictions, as JSON."""

from typing import Annotated

from pydantic import BaseModel, Field

from chestxray.inference.predictions import ModelInfo, Prediction, Quality, RequestId


class ProblemDetails(BaseModel):
    """Body of every error (RFC 9457)."""

    type: Annotated[str, Field(examples=["overloaded"])]
    title: Annotated[str, Field(examples=["The service is busy"])]
    status: Annotated[int, Field(examples=[503])]
    detail: Annotated[str, Field(examples=["17 images are being worked on or wait already; try again in a second."])]
    request_id: RequestId
    quality: Quality | None = None
    """What the checks found in a file that they refuse."""


Index = Annotated[int, Field(ge=0, examples=[0])]
"""Place of the file in the request, from 0 on."""


class IndexedPrediction(Prediction):
    """Answer about one of several files."""

    index: Index


class IndexedProblem(ProblemDetails):
    """What was wrong with one of several files."""

    index: Index


class BatchPrediction(BaseModel):
    """Answer of `/predict/batch`: one for each file, in order."""

    answers: list[IndexedPrediction | IndexedProblem]


class Readiness(BaseModel):
    """Answer of `/readyz`."""

    ready: bool
    model: ModelInfo | None
    problem: Annotated[
        str | None, Field(examples=["disk-failed: The model can't be read or stored. The log says why."])
    ]
    """Why the model that MODEL_URI means now is not the one served: a code and a sentence."""
