"""Questions and answers of the service, as JSON."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Digest = Annotated[str, Field(examples=["5ed1bd0c2ad6bf2b3e6c4ad4a3a8b8fcb34cfe0e7e3e5f3a0f3f7d4f2f3b5a61"])]
Probability = Annotated[float, Field(ge=0, le=1, examples=[0.71])]


class Options(BaseModel):
    """What to answer."""

    heatmaps: Literal["none", "inline", "link", "raw"] = "none"
    """Grad-CAM: none, overlays as base64 PNG, links to overlays that expire, or the maps as numbers."""
    heatmaps_for: Literal["positive", "all"] = "positive"
    """Which findings get one."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """Instead of the operating point of every finding."""


class ModelInfo(BaseModel):
    """Which model answered."""

    name: Annotated[str, Field(examples=["chest-xray"])]
    version: Annotated[str | None, Field(examples=["3"])] = None
    alias: Annotated[str | None, Field(examples=["champion"])] = None
    sha256: Digest
    synthetic: bool
    """Trained on synthetic phantoms: its answers say nothing about patients."""


class ImageInfo(BaseModel):
    """What was looked at; width and height in pixels, upright."""

    sha256: Digest
    format: Annotated[str, Field(examples=["PNG"])]
    width: Annotated[int, Field(examples=[1024])]
    height: Annotated[int, Field(examples=[1024])]
    bit_depth: Annotated[int, Field(examples=[8])]
    view_position: Annotated[str | None, Field(examples=["PA"])]
    """Of a DICOM file that says it: PA, AP, or one that is not frontal."""
    warnings: list[str]


class InlineHeatmap(BaseModel):
    """An overlay on the radiograph."""

    kind: Literal["inline"] = "inline"
    png: Annotated[str, Field(examples=["iVBORw0KGgo…"])]
    """PNG, base64."""


class LinkedHeatmap(BaseModel):
    """Where the overlay can be fetched until it expires."""

    kind: Literal["link"] = "link"
    url: Annotated[str, Field(examples=["/static/gradcam/0f8fad5bd9cb469fa165708677289501.png"])]
    expires_in_seconds: float


class Rectangle(BaseModel):
    """Part of the image, in fractions of its width and height."""

    left: float
    top: float
    width: float
    height: float


class RawHeatmap(BaseModel):
    """The map itself: rows from the top, in units of the logit; its mean and the bias make the logit."""

    kind: Literal["raw"] = "raw"
    values: list[list[float]]
    covers: Rectangle


class Finding(BaseModel):
    """One of the 14 findings."""

    name: Annotated[str, Field(examples=["Cardiomegaly"])]
    probability: Probability
    threshold: Annotated[float, Field(examples=[0.19])]
    positive: bool
    heatmap: Annotated[InlineHeatmap | LinkedHeatmap | RawHeatmap, Field(discriminator="kind")] | None = None


class Timing(BaseModel):
    """Milliseconds by step."""

    queue: float
    decode: float
    inference: float
    heatmaps: float


class Prediction(BaseModel):
    """Answer of `/predict`."""

    request_id: str
    model: ModelInfo
    image: ImageInfo
    findings: list[Finding]
    """All 14, the most probable first."""
    predicted_labels: Annotated[list[str], Field(examples=[["Cardiomegaly", "Effusion"]])]
    """Findings at or above their threshold; none does not mean that the chest is healthy."""
    timing_ms: Timing
    disclaimer: str


class ProblemDetails(BaseModel):
    """Body of every error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class BatchPrediction(BaseModel):
    """Answer of `/predict/batch`: one for each file, in order."""

    answers: list[Prediction | ProblemDetails]


class Readiness(BaseModel):
    """Answer of `/readyz`."""

    ready: bool
    model: ModelInfo | None
    problem: str | None
    """Why the model that MODEL_URI means now is not the one served."""
