"""From the bytes of a file to the answer."""

import base64
import hashlib
import time

import numpy as np
import numpy.typing as npt

from chestxray.bundle import Card
from chestxray.cam import overlay_pngs
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.plausibility import check_plausible, doubts
from chestxray.radiograph import Radiograph, RadiographError, decode, resize
from serve.overlays import Overlays
from serve.predictor import Model
from serve.problems import ProblemError
from serve.schemas import (
    Finding,
    ImageInfo,
    InlineHeatmap,
    LinkedHeatmap,
    Options,
    Prediction,
    RawHeatmap,
    Rectangle,
    Timing,
)

OVERLAY_SIZE = 512
OPACITY = 0.45

Single = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def analyse(
    model: Model, data: bytes, options: Options, overlays: Overlays | None, max_pixels: int, request_id: str
) -> Prediction:
    """Decodes a file, predicts and explains.

    Args:
        model: which answers.
        data: the whole file, as a stranger sent it.
        options: which findings to explain, how, and by which threshold to decide.
        overlays: where linked ones are kept; needed for `link` alone.
        max_pixels: the most to accept.
        request_id: for the answer.

    Raises:
        ProblemError: the file can't be used.
    """
    start = time.perf_counter()
    radiograph = _decoded(data, max_pixels)
    pixels = resize(radiograph.pixels, model.bundle.card.size)
    decoded = time.perf_counter()
    (probabilities,), (maps,) = model.bundle.predict(pixels[None, ..., None])
    inferred = time.perf_counter()
    thresholds = np.full(len(FINDINGS), options.threshold) if options.threshold is not None else model.bundle.thresholds
    positive = probabilities >= thresholds
    findings = [
        Finding(name=name, probability=float(p), threshold=float(t), positive=bool(called))
        for name, p, t, called in zip(FINDINGS, probabilities, thresholds, positive, strict=True)
    ]
    if options.heatmaps != "none":
        wanted = np.flatnonzero(positive | (options.heatmaps_for == "all"))
        _explain(findings, wanted, radiograph.pixels, maps, model.bundle.card, options, overlays)
    explained = time.perf_counter()
    findings.sort(key=lambda finding: -finding.probability)
    return Prediction(
        request_id=request_id,
        model=model.info,
        image=_image_info(data, radiograph, model.bundle.card),
        findings=findings,
        predicted_labels=[finding.name for finding in findings if finding.positive],
        timing_ms=Timing(
            queue=0.0,
            decode=_milliseconds(decoded - start),
            inference=_milliseconds(inferred - decoded),
            heatmaps=_milliseconds(explained - inferred),
        ),
        disclaimer=disclaimer(model.bundle.card.synthetic),
    )


def disclaimer(synthetic: bool) -> str:
    """Stands in every answer."""
    kind = "Trained on synthetic phantoms: says nothing about patients. " if synthetic else ""
    return f"{kind}{RESEARCH_USE_ONLY}"


def _decoded(data: bytes, max_pixels: int) -> Radiograph:
    try:
        radiograph = decode(data, max_pixels)
        check_plausible(radiograph)
    except RadiographError as error:
        raise ProblemError(error.kind, f"The file can't be used: {error}.") from error
    return radiograph


def _image_info(data: bytes, radiograph: Radiograph, card: Card) -> ImageInfo:
    height, width = radiograph.pixels.shape
    return ImageInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        format=radiograph.format,
        width=width,
        height=height,
        bit_depth=radiograph.bit_depth,
        view_position=radiograph.view_position,
        warnings=doubts(radiograph, card.size),
    )


def _explain(
    findings: list[Finding],
    wanted: npt.NDArray[np.intp],
    pixels: Pixels,
    maps: Single,
    card: Card,
    options: Options,
    overlays: Overlays | None,
) -> None:
    """Gives the wanted findings their heatmaps."""
    if options.heatmaps == "raw":
        inset = (card.size - card.input_size) / 2 / card.size
        side = card.input_size / card.size
        covers = Rectangle(left=inset, top=inset, width=side, height=side)
        for place in wanted:
            findings[place].heatmap = RawHeatmap(
                values=np.round(maps[..., place].astype(float), 4).tolist(), covers=covers
            )
        return
    large, covered = resize(pixels, OVERLAY_SIZE), OVERLAY_SIZE * card.input_size // card.size
    for place, png in zip(wanted, overlay_pngs(large, maps[..., wanted], covered, OPACITY), strict=True):
        if options.heatmaps == "link" and overlays is not None:
            url = f"/static/gradcam/{overlays.add(png)}.png"
            findings[place].heatmap = LinkedHeatmap(url=url, expires_in_seconds=overlays.seconds)
        else:
            findings[place].heatmap = InlineHeatmap(png=base64.b64encode(png).decode())


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)
