"""Draw the pictures of the page: a radiograph, the same with heat on it, and that with its caption burnt in."""

import numpy as np
import numpy.typing as npt

from chestxray.imaging.decode import decode
from chestxray.imaging.pictures import encode_png
from chestxray.imaging.radiograph import fit
from chestxray.inference.caption import captioned
from chestxray.inference.heatmap import full_scale_of, overlay, spread_heat
from chestxray.inference.predictions import Finding, Prediction, RawHeatmap

SIDE = 1024
"""Longer side of the radiograph on the page, in pixels."""
CAPTION_SCALE = 2
Pixels = npt.NDArray[np.uint8]


def shown_pixels(data: bytes) -> Pixels:
    """Decode a file and return its pixels as large as the page shows them, uint8 H × W."""
    return fit(decode(data).pixels, SIDE)


def hottest_of(answer: Prediction, finding: Finding) -> float:
    """Return the heat of the brightest colour: that of a finding and of the detected ones, so that they compare."""
    compared = [each.heatmap for each in answer.findings if each.positive or each.name == finding.name]
    return max(0.0, *(full_scale_of(np.array(each.values)) for each in compared if isinstance(each, RawHeatmap)))


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
    if not isinstance(finding.heatmap, RawHeatmap):
        return np.dstack([pixels] * 3)
    values = np.array(finding.heatmap.values, np.float32)
    heat = spread_heat(values, pixels.shape, finding.heatmap.covers.width)
    return overlay(pixels, heat, hottest, opacity, least)


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
