"""From the bytes of a file to the answer."""

import base64
import hashlib
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from chestxray.bundle import Card
from chestxray.cam import overlay_pngs
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.plausibility import check_plausible, doubts
from chestxray.radiograph import Radiograph, decode, resize
from serve import schemas
from serve.overlays import Overlays
from serve.predictor import Model

OVERLAY_SIZE = 512
OPACITY = 0.45
PHANTOMS_ONLY = "Trained on synthetic phantoms: says nothing about patients. "


def analyse(
    model: Model, data: bytes, options: schemas.Options, overlays: Overlays | None, max_pixels: int, request_id: str
) -> schemas.Prediction:
    """Decodes a file, predicts and explains.

    Args:
        model: which answers.
        data: the whole file, as a stranger sent it.
        options: which findings to explain, how, and by which threshold to decide.
        overlays: where linked ones are kept; needed for `link` alone.
        max_pixels: the most to accept.
        request_id: for the answer.

    Raises:
        RadiographError: the file can't be used.
    """
    card, times = model.bundle.card, [time.perf_counter()]
    radiograph = decode(data, max_pixels)
    check_plausible(radiograph)
    pixels = resize(radiograph.pixels, card.size)
    times.append(time.perf_counter())
    (probabilities,), (maps,) = model.bundle.predict(pixels[None, ..., None])
    times.append(time.perf_counter())
    findings = _findings(probabilities, model.bundle.thresholds, options.threshold)
    wanted = [place for place, finding in enumerate(findings) if finding.positive or options.heatmaps_for == "all"]
    heatmaps = _heatmaps(options, card, radiograph, maps[..., wanted], overlays)
    for place, heatmap in zip(wanted, heatmaps, strict=options.heatmaps != "none"):
        findings[place].heatmap = heatmap
    times.append(time.perf_counter())
    findings.sort(key=lambda finding: -finding.probability)
    decoding, inference, explaining = np.round(1000 * np.diff(times), 2).tolist()
    return schemas.Prediction(
        request_id=request_id,
        model=model.info,
        image=_image_info(data, radiograph, card),
        findings=findings,
        predicted_labels=[finding.name for finding in findings if finding.positive],
        timing_ms=schemas.Timing(queue=0.0, decode=decoding, inference=inference, heatmaps=explaining),
        disclaimer=(PHANTOMS_ONLY if card.synthetic else "") + RESEARCH_USE_ONLY,
    )


def _findings(
    probabilities: npt.NDArray[np.float32], operating_points: npt.NDArray[np.float64], threshold: float | None
) -> list[schemas.Finding]:
    """In the order of the model, by one threshold for all or each by its operating point."""
    thresholds = operating_points if threshold is None else np.full(len(FINDINGS), threshold)
    return [
        schemas.Finding(name=name, probability=float(p), threshold=float(t), positive=bool(p >= t))
        for name, p, t in zip(FINDINGS, probabilities, thresholds, strict=True)
    ]


def _heatmaps(
    options: schemas.Options,
    card: Card,
    radiograph: Radiograph,
    maps: npt.NDArray[np.float32],
    overlays: Overlays | None,
) -> Iterator[schemas.Heatmap]:
    """One for each map, or none."""
    if options.heatmaps == "raw":
        inset, side = (card.size - card.input_size) / 2 / card.size, card.input_size / card.size
        covers = schemas.Rectangle(left=inset, top=inset, width=side, height=side)
        for values in np.moveaxis(maps, -1, 0).astype(float):
            yield schemas.RawHeatmap(values=np.round(values, 4).tolist(), covers=covers)
    elif options.heatmaps != "none":
        covered = OVERLAY_SIZE * card.input_size // card.size
        for png in overlay_pngs(resize(radiograph.pixels, OVERLAY_SIZE), maps, covered, OPACITY):
            if options.heatmaps == "link" and overlays is not None:
                url = f"/static/gradcam/{overlays.add(png)}.png"
                yield schemas.LinkedHeatmap(url=url, expires_in_seconds=overlays.seconds)
            else:
                yield schemas.InlineHeatmap(png=base64.b64encode(png).decode())


def _image_info(data: bytes, radiograph: Radiograph, card: Card) -> schemas.ImageInfo:
    height, width = radiograph.pixels.shape
    return schemas.ImageInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        format=radiograph.format,
        width=width,
        height=height,
        bit_depth=radiograph.bit_depth,
        view_position=radiograph.view_position,
        warnings=doubts(radiograph, card.size),
    )
