"""From the bytes of a file to the answer."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.imaging.radiograph import resize
from chestxray.inference.bundle import Bundle, Card
from chestxray.inference.heatmap import overlay_pngs
from chestxray.inference.predict import FilePrediction, predict_file
from chestxray.inference.predictions import (
    Finding,
    Heatmap,
    ImageInfo,
    InlineHeatmap,
    LinkedHeatmap,
    ModelInfo,
    Options,
    Prediction,
    RawHeatmap,
    Rectangle,
    Timing,
)

OVERLAY_SIZE = 512
OPACITY = 0.45
PHANTOMS_ONLY = "Trained on synthetic phantoms: says nothing about patients. "


Publish = Callable[[Iterable[bytes]], Iterable[LinkedHeatmap]]
"""Keeps PNG files where a client can fetch them, and says where."""


class Model(NamedTuple):
    """A model that proved good, and which one it is."""

    info: ModelInfo
    bundle: Bundle


def answer(
    model: Model, data: bytes, options: Options, max_pixels: int, request_id: str, publish: Publish | None = None
) -> Prediction:
    """Reads a file and explains what is called.

    Args:
        model: which answers.
        data: the whole file, as a stranger sent it.
        options: which findings to explain, how, and by which threshold to decide.
        max_pixels: the most to accept.
        request_id: for the answer.
        publish: makes links of overlays, given as PNG files; needed for `link` alone.

    Raises:
        ValueError: links are asked for, and there is nobody to make them.
        RadiographError: the file can't be used.
    """
    prediction, card = predict_file(model.bundle, data, max_pixels, options.threshold), model.bundle.card
    start = time.perf_counter()
    findings = [
        Finding(name=name, probability=float(p), threshold=float(t), positive=bool(called))
        for name, p, t, called in zip(
            FINDINGS, prediction.probabilities, prediction.thresholds, prediction.positive, strict=True
        )
    ]
    if options.heatmaps != "none":
        wanted = np.flatnonzero(prediction.positive | (options.heatmaps_for == "all"))
        for place, heatmap in zip(wanted, _heatmaps(prediction, wanted, options, card, publish), strict=True):
            findings[place].heatmap = heatmap
    seconds = {"decode": prediction.decode, "inference": prediction.inference, "heatmaps": time.perf_counter() - start}
    findings.sort(key=lambda finding: -finding.probability)
    return Prediction(
        request_id=request_id,
        model=model.info,
        image=_image_info(data, prediction),
        findings=findings,
        predicted_labels=[finding.name for finding in findings if finding.positive],
        timing_ms=Timing(queue=0.0, **{step: round(1000 * taken, 2) for step, taken in seconds.items()}),
        disclaimer=(PHANTOMS_ONLY if card.synthetic else "") + RESEARCH_USE_ONLY,
    )


def _heatmaps(
    prediction: FilePrediction, wanted: npt.NDArray[np.intp], options: Options, card: Card, publish: Publish | None
) -> Iterator[Heatmap]:
    """One for each wanted finding."""
    maps = prediction.maps[..., wanted]
    if options.heatmaps == "raw":
        inset, side = (card.size - card.input_size) / 2 / card.size, card.input_size / card.size
        covers = Rectangle(left=inset, top=inset, width=side, height=side)
        for values in np.moveaxis(maps, -1, 0).astype(float):
            yield RawHeatmap(values=np.round(values, 4).tolist(), covers=covers)
        return
    pixels, covered = prediction.radiograph.pixels, OVERLAY_SIZE * card.input_size // card.size
    height, width = (max(1, round(OVERLAY_SIZE * side / max(pixels.shape))) for side in pixels.shape)
    pngs = overlay_pngs(resize(pixels, OVERLAY_SIZE), maps, covered, OPACITY, (height, width))
    if options.heatmaps == "link":
        if publish is None:
            raise ValueError("linked heatmaps need a service that keeps them; ask for inline or raw ones")
        yield from publish(pngs)
    else:
        yield from (InlineHeatmap(png=base64.b64encode(png).decode()) for png in pngs)


def _image_info(data: bytes, prediction: FilePrediction) -> ImageInfo:
    radiograph, (height, width) = prediction.radiograph, prediction.radiograph.pixels.shape
    return ImageInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        format=radiograph.format,
        width=width,
        height=height,
        bit_depth=radiograph.bit_depth,
        view_position=radiograph.view_position,
        warnings=prediction.image_warnings,
    )
