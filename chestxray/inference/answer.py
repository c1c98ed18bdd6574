"""Answer about one file: its findings, with heatmaps where they are asked for."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.imaging.pictures import encode_jpeg, encode_png
from chestxray.imaging.radiograph import fit
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import Card
from chestxray.inference.decisions import choose_thresholds
from chestxray.inference.heatmap import draw_overlays, full_scale_of
from chestxray.inference.operating_point import OperatingPoint
from chestxray.inference.predict import FilePrediction, predict_file
from chestxray.inference.predictions import (
    Finding,
    Heatmap,
    ImageInfo,
    InlineHeatmap,
    JpegHeatmap,
    LinkedHeatmap,
    ModelInfo,
    Options,
    Performance,
    Prediction,
    Quality,
    RawHeatmap,
    Rectangle,
    Timing,
)
from chestxray.inference.status import STATUSES, has_decision, has_number, named_number

OVERLAY_SIZE = 512
"""Longer side of an overlay, in pixels."""
OPACITY = 0.45
"""Of its hottest places."""
PHANTOMS_ONLY = "Trained on synthetic phantoms: says nothing about patients. "

Publish = Callable[[Iterable[bytes], float], Iterable[LinkedHeatmap]]
"""Keeps PNG files where a client can fetch them, and says where; the number is their full scale."""


class Model(NamedTuple):
    """A model that passed its self-test, and which one it is."""

    info: ModelInfo
    bundle: Bundle


def answer(
    model: Model, data: bytes, options: Options, max_pixels: int, request_id: str, publish: Publish | None = None
) -> Prediction:
    """Predict the findings of a file and explain them.

    Args:
        model: that answers.
        data: the whole file.
        options: which findings to explain, how, and by which threshold to decide.
        max_pixels: the most to accept.
        request_id: for the answer.
        publish: makes links of overlays, given as PNG files; needed for `link` alone.

    Raises:
        OptionsError: the model has no such operating point, or a threshold is given too.
        ValueError: links are asked for without `publish`.
        RadiographError: the file can't be used.
    """
    card = model.bundle.card
    thresholds = choose_thresholds(card, options.operating_point, options.threshold)
    prediction = predict_file(model.bundle, data, max_pixels, thresholds, options.accept_anyway)
    start = time.perf_counter()
    findings = list(_findings(prediction, card, options.prevalence))
    if options.heatmaps != "none":
        wanted = has_number(card.status) if options.heatmaps_for == "all" else prediction.decisions
        explained = np.flatnonzero(wanted)
        for place, heatmap in zip(explained, _heatmaps(prediction, explained, options, card, publish), strict=True):
            findings[place].heatmap = heatmap
    heatmap_seconds = time.perf_counter() - start
    findings.sort(key=lambda finding: (STATUSES.index(finding.status), -(finding.number or 0.0)))
    return Prediction(
        request_id=request_id,
        model=model.info,
        image=_image_info(data, prediction),
        quality=Quality.of(prediction.checks),
        operating_point=thresholds.name,
        findings=findings,
        predicted_labels=[finding.name for finding in findings if finding.positive],
        timing_ms=Timing(
            queue=0.0,
            decode=_milliseconds(prediction.decode_seconds),
            inference=_milliseconds(prediction.inference_seconds),
            heatmaps=_milliseconds(heatmap_seconds),
        ),
        disclaimer=disclaimer(card.synthetic),
    )


def disclaimer(synthetic: bool) -> str:
    """Say what the answers of a model are for."""
    return (PHANTOMS_ONLY if synthetic else "") + RESEARCH_USE_ONLY


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _findings(prediction: FilePrediction, card: Card, prevalence: float | None) -> Iterator[Finding]:
    """Put together what may be said of each finding by its status."""
    points = card.operating_points.get(prediction.thresholds.name)  # none of the caller's own threshold
    with_decision, with_number = has_decision(card.status), has_number(card.status)
    for place, (name, status, band) in enumerate(zip(card.findings, card.status, card.bands, strict=True)):
        number = float(prediction.probabilities[place])
        named = named_number(status, number)
        decided = bool(prediction.decided[place])
        point = points[place] if points and with_decision[place] else OperatingPoint(threshold=None)
        labels = [str(each) for each in card.label_quality if name in each.findings]
        yield Finding(
            name=name,
            title=card.titles[place],
            status=status,
            probability=named["probability"],
            score=named["score"],
            threshold=float(prediction.thresholds.values[place]) if decided else None,
            positive=bool(prediction.decisions[place]) if decided else None,
            undecided_because=point.lacking or None,
            uncertain=band.holds(number) if band else None,
            performance=Performance.of(point, prevalence),
            explanation=card.explanation[place] if card.explanation and with_number[place] else None,
            label_quality=" ".join(labels) or None,
        )


def _heatmaps(
    prediction: FilePrediction, explained: npt.NDArray[np.intp], options: Options, card: Card, publish: Publish | None
) -> Iterator[Heatmap]:
    """Make a heatmap for each finding that is to be explained."""
    maps = prediction.maps[..., explained]
    if options.heatmaps == "raw":
        yield from _raw_heatmaps(maps, card)
        return
    full_scale = full_scale_of(maps)
    encode = encode_jpeg if options.heatmaps == "jpeg" else encode_png
    film = fit(prediction.radiograph.pixels, OVERLAY_SIZE)
    files = draw_overlays(film, maps, card.covered, full_scale, OPACITY, encode)
    if options.heatmaps == "link":
        if publish is None:
            raise ValueError("linked heatmaps need a service that keeps them; ask for inline or raw ones")
        yield from publish(files, full_scale)
    else:
        for file in files:
            text = base64.b64encode(file).decode()
            yield (
                JpegHeatmap(jpeg=text, full_scale=full_scale)
                if options.heatmaps == "jpeg"
                else InlineHeatmap(png=text, full_scale=full_scale)
            )


def _raw_heatmaps(maps: npt.NDArray[np.float32], card: Card) -> Iterator[RawHeatmap]:
    inset = (card.size - card.input_size) / 2 / card.size
    covers = Rectangle(left=inset, top=inset, width=card.covered, height=card.covered)
    for values in np.moveaxis(maps, -1, 0).astype(float):
        yield RawHeatmap(values=np.round(values, 4).tolist(), covers=covers)


def _image_info(data: bytes, prediction: FilePrediction) -> ImageInfo:
    radiograph = prediction.radiograph
    height, width = radiograph.pixels.shape
    return ImageInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        format=radiograph.format,
        width=width,
        height=height,
        bit_depth=radiograph.bit_depth,
        view_position=radiograph.view_position,
        patient_orientation=radiograph.patient_orientation,
        warnings=[check.message for check in prediction.checks],
    )
