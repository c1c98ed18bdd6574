"""Draw the pictures of the page: a radiograph, the same with heat on it, and that with its caption burnt in."""

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.imaging.decode import decode
from chestxray.inference.caption import captioned
from chestxray.inference.heatmap import encode_png, overlay, upscale_maps
from chestxray.inference.predictions import Finding, Prediction, RawHeatmap

SIDE = 1024
"""Longer side of the radiograph on the page, in pixels."""
EDGE = SIDE / 64
"""Over how many pixels heat fades where it ends: an edge would look like something that the model saw."""
CAPTION_SCALE = 2
Pixels = npt.NDArray[np.uint8]


def shown_pixels(data: bytes) -> Pixels:
    """Decode a file and return its pixels as large as the page shows them, uint8 H × W."""
    pixels = decode(data).pixels
    height, width = (max(1, round(side * SIDE / max(pixels.shape))) for side in pixels.shape)
    interpolation = cv2.INTER_AREA if max(pixels.shape) > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)


def grey(pixels: Pixels) -> Pixels:
    """Return a radiograph as RGB, uint8 H × W × 3."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)


def hottest_of(answer: Prediction, finding: Finding) -> float:
    """Return the heat of the brightest colour: that of a finding and of the detected ones, so that they compare."""
    compared = [each.heatmap for each in answer.findings if each.positive or each.name == finding.name]
    return max(1e-6, *(float(np.max(heatmap.values)) for heatmap in compared if isinstance(heatmap, RawHeatmap)))


def add_heat(pixels: Pixels, finding: Finding, hottest: float, least: float, opacity: float) -> Pixels:
    """Draw the heat of a finding on a radiograph.

    Args:
        pixels: uint8 H × W.
        finding: with its raw map.
        hottest: heat of the brightest colour.
        least: share of the hottest below which heat is hidden, 0–1.
        opacity: of the hottest places, 0–1.

    Returns:
        uint8 H × W × 3, RGB.
    """
    height, width = pixels.shape
    heat = np.zeros((height, width), np.float32)
    if isinstance(finding.heatmap, RawHeatmap):
        maps = np.array(finding.heatmap.values, np.float32)[..., None]
        square = upscale_maps(maps, SIDE, round(SIDE * finding.heatmap.covers.width))[..., 0]
        shown = (square >= max(least * hottest, 1e-6)).astype(np.float32)
        square = square * np.maximum(2 * cv2.GaussianBlur(shown, (0, 0), EDGE) - 1, 0)  # 0 at an edge, 1 well inside
        heat = np.asarray(cv2.resize(square, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return overlay(pixels, heat, hottest, opacity)


def burnt(picture: Pixels, answer: Prediction, lines: list[str]) -> bytes:
    """Return a picture with what it shows, which model drew it and what it is for written above it, as a PNG file.

    Args:
        picture: uint8 H × W × 3, RGB.
        answer: that it shows.
        lines: of text, what it shows.
    """
    model = answer.model
    drawn_by = f"{model.in_words()}; image sha256 {answer.image.sha256[:12]}"
    return encode_png(captioned(picture, [*lines, drawn_by, answer.disclaimer], scale=CAPTION_SCALE))
