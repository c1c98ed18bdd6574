"""Define what can be asked about a radiograph and what is answered, as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.imaging.quality import Verdict, overall_verdict
from chestxray.imaging.radiograph import Check
from chestxray.inference.located import Explanation
from chestxray.inference.operating_point import OperatingPoint, Rate
from chestxray.inference.status import Status

Digest = Annotated[str, Field(examples=["5ed1bd0c2ad6bf2b3e6c4ad4a3a8b8fcb34cfe0e7e3e5f3a0f3f7d4f2f3b5a61"])]
Probability = Annotated[float, Field(ge=0, le=1, examples=[0.71])]
LATERAL = "ViewPosition is a lateral view; frontal views, PA and AP, are accepted."
RequestId = Annotated[str, Field(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])]
Fraction = Annotated[float, Field(examples=[0.125])]
FullScale = Annotated[float, Field(examples=[3.25])]
Milliseconds = Annotated[float, Field(examples=[12.5])]


class Options(BaseModel):
    """What to answer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    heatmaps: Literal["none", "inline", "jpeg", "link", "raw"] = "none"
    """Grad-CAM: none, overlays as base64 PNG, as base64 JPEG (a sixth as large and sooner there), links to overlays
    that expire, or the maps as numbers."""
    heatmaps_for: Literal["positive", "all"] = "positive"
    """Which findings get one; those that are not learned never do."""
    operating_point: Annotated[str | None, Field(max_length=40, examples=["sensitivity@0.9"])] = None
    """By which of the model's operating points to decide; none named: by the first of its card."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """Instead of the operating point of every finding; decides on insufficient ones too."""
    prevalence: Annotated[float | None, Field(ge=1e-6, le=1 - 1e-6, examples=[0.02])] = None
    """Of each finding among the images to be decided on: the predictive values are given for it."""
    accept_anyway: bool = False
    """Answer about an image that the checks refuse, such as a lateral view; `quality` says what they found."""


class ModelInfo(BaseModel):
    """Which model answered."""

    name: Annotated[str, Field(examples=["chest-xray"])]
    version: Annotated[str | None, Field(examples=["3"])] = None
    alias: Annotated[str | None, Field(examples=["champion"])] = None
    sha256: Digest
    synthetic: bool
    """Trained on synthetic phantoms: its answers say nothing about patients."""

    def in_words(self) -> str:
        """Return name, version and alias, as far as it has them, and the first digits of its digest."""
        version = f" version {self.version}" if self.version else ""
        alias = f" ({self.alias})" if self.alias else ""
        return f"{self.name}{version}{alias}, sha256 {self.sha256[:12]}"


class ImageInfo(BaseModel):
    """What was looked at; width and height in pixels, upright."""

    sha256: Digest
    format: Annotated[str, Field(examples=["PNG"])]
    width: Annotated[int, Field(examples=[1024])]
    height: Annotated[int, Field(examples=[1024])]
    bit_depth: Annotated[int, Field(examples=[8])]
    view_position: Annotated[str | None, Field(examples=["PA"])]
    """Of a DICOM file that says it: PA, AP, or one that is not frontal."""
    patient_orientation: Annotated[str | None, Field(examples=["L\\F"])]
    r"""Of a DICOM file that says it: to which side of the patient rows and columns run. Those that are not `L\F` were
    turned to it; null means that nothing tells whether the image is mirrored."""
    warnings: Annotated[list[str], Field(examples=[[LATERAL]])]
    """What the checks of `quality` found, in sentences; and if it is so, that heatmaps could not be stored."""


class QualityCheck(BaseModel):
    """A property of the file that makes an answer about it doubtful, or pointless."""

    name: Annotated[str, Field(examples=["view-position"])]
    verdict: Literal["warned", "refused"]
    message: Annotated[str, Field(examples=[LATERAL])]
    value: Annotated[float | None, Field(examples=[None])]
    """How far, where the check measures something."""
    limit: Annotated[float | None, Field(examples=[None])]
    """Of `value`, from which on the check gives this verdict."""


class Quality(BaseModel):
    """Whether the file is a frontal chest radiograph like those that the model knows, as far as that can be checked."""

    verdict: Verdict
    """The gravest of the checks; "refused" stands in an answer only where `accept_anyway` asked for it."""
    checks: list[QualityCheck]
    """Those that found something."""

    @classmethod
    def of(cls, checks: Sequence[Check]) -> Self:
        """Put what the checks found together."""
        return cls(verdict=overall_verdict(checks), checks=[QualityCheck(**asdict(check)) for check in checks])


class InlineHeatmap(BaseModel):
    """An overlay on the radiograph, in its proportions, 512 pixels on its longer side."""

    kind: Literal["inline"] = "inline"
    png: Annotated[str, Field(examples=["iVBORw0KGgo…"])]
    """PNG, base64."""
    full_scale: FullScale
    """What the brightest colour stands for, in units of the logit; the same for all overlays of an answer."""


class JpegHeatmap(BaseModel):
    """The same overlay in a sixth of the bytes, for people to look at: the film under it is blurred a little."""

    kind: Literal["jpeg"] = "jpeg"
    jpeg: Annotated[str, Field(examples=["/9j/4AAQSkZJRgAB…"])]
    """JPEG, base64."""
    full_scale: FullScale
    """What the brightest colour stands for, in units of the logit; the same for all overlays of an answer."""


class LinkedHeatmap(BaseModel):
    """Where such an overlay can be fetched until it expires."""

    kind: Literal["link"] = "link"
    url: Annotated[str, Field(examples=["/…/0f8fad5bd9cb469fa165708677289501.png"])]
    """Of a PNG file, relative to the service's address."""
    expires_in_seconds: Annotated[float, Field(examples=[600.0])]
    """At the latest: those that were not fetched the longest go sooner when many are made."""
    full_scale: FullScale
    """What the brightest colour stands for, in units of the logit; the same for all overlays of an answer."""


class Rectangle(BaseModel):
    """Part of the image, in fractions of its width and height."""

    left: Fraction
    top: Fraction
    width: Fraction
    height: Fraction


class RawHeatmap(BaseModel):
    """The map itself: rows from the top, in units of the logit; its mean and the bias make the logit."""

    kind: Literal["raw"] = "raw"
    values: Annotated[list[list[float]], Field(examples=[[[-0.25, 0.5], [1.75, 0.125]]])]
    covers: Rectangle


Heatmap = InlineHeatmap | JpegHeatmap | LinkedHeatmap | RawHeatmap


class Performance(BaseModel):
    """How decisions by an operating point did on the model's test images, with 95 % intervals over patients.

    An interval is missing where too few patients of the test images have, or lack, the finding, or are called positive.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    sensitivity: Rate
    specificity: Rate
    prevalence: Annotated[float, Field(examples=[0.125])]
    """That the predictive values are for: the one asked for, which their intervals take for known, else that of the
    test images, which the interval of the positive predictive value takes for one of chance."""
    ppv: Rate | None
    """Share of positive decisions that are right; null if none was positive."""
    npv: Rate | None
    """Share of negative decisions that are right; null if none was negative. It has an interval at a prevalence that
    was asked for, not at that of the test images, which say too little of it."""

    @classmethod
    def of(cls, point: OperatingPoint, prevalence: float | None) -> Self | None:
        """Put together what is known of an operating point; None if it was not tested on both classes."""
        values = point.predictive_values(prevalence)
        if point.sensitivity is None or point.specificity is None or values is None:
            return None
        return cls(sensitivity=point.sensitivity, specificity=point.specificity, **values._asdict())


class Finding(BaseModel):
    """One of the findings of the model, with a number and a decision as far as its status allows them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: Annotated[str, Field(examples=["Cardiomegaly"])]
    title: Annotated[str, Field(examples=["Cardiomegaly"])]
    """What a person calls it."""
    status: Status
    """learned: it has a probability and a decision. insufficient: too few patients had or lacked it in training or
    validation, so it has a score, and a decision only if the request names a threshold. not learned: training had no
    images both with and without it, so there is neither number, decision nor heatmap."""
    probability: Probability | None
    """Calibrated; null unless the finding is learned."""
    score: Probability | None = None
    """Of an insufficient finding, else null: the higher, the more speaks for it, but it is no probability."""
    threshold: Annotated[float | None, Field(examples=[0.19])]
    """From which on it is positive; null where there is no decision."""
    positive: bool | None
    """Whether its number reaches the threshold; null where there is no decision."""
    undecided_because: Annotated[str | None, Field(examples=[None])] = None
    """Why a learned finding has no threshold at this operating point; null where it has one."""
    uncertain: Annotated[bool | None, Field(examples=[False])] = None
    """Whether its probability lies where neither presence nor absence is shown at the model's stated error rate, so
    that a person should look; null where the model has no such band."""
    performance: Performance | None = None
    """Of the decisions about it on the test images; null where there is none, and with the request's threshold."""
    explanation: Annotated[Explanation | None, Field(examples=["unproven"])] = None
    """Whether boxes of test images show that heatmaps of this finding find its place better than the place where it
    usually is; null of a model that was not tried on boxes, and of what is not learned."""
    label_quality: Annotated[str | None, Field(examples=[None])] = None
    """What radiologists found of the labels that it was trained on, where that is known."""
    heatmap: Annotated[Heatmap, Field(discriminator="kind")] | None = None

    @property
    def number(self) -> float | None:
        """Its probability or its score; None of what is not learned."""
        return self.score if self.probability is None else self.probability


class Timing(BaseModel):
    """Milliseconds by step."""

    queue: Milliseconds
    decode: Milliseconds
    inference: Milliseconds
    heatmaps: Milliseconds


class Prediction(BaseModel):
    """Answer of `/predict`."""

    request_id: RequestId
    model: ModelInfo
    image: ImageInfo
    quality: Quality
    operating_point: Annotated[str, Field(examples=["f1"])]
    """That the decisions are by; "threshold" if the request gave one."""
    findings: list[Finding]
    """All of the model: those learned, the most probable first, then the insufficient ones by score, then those that
    are not learned."""
    predicted_labels: Annotated[list[str], Field(examples=[["Cardiomegaly", "Effusion"]])]
    """Names of the findings that are positive; none does not mean that the chest is healthy."""
    timing_ms: Timing
    disclaimer: Annotated[str, Field(examples=[RESEARCH_USE_ONLY])]
