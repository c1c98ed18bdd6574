"""Lay Grad-CAM heatmaps on radiographs, for people to look at; the maps themselves stay what they are.

With a linear head on averaged activations Grad-CAM is CAM (Selvaraju et al., ICCV 2017, section 3; Zhou et al.,
CVPR 2016): the maps come out of the model beside the logits. Why they are drawn so: docs/decisions/overlays.md.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.imaging.pictures import encode_png
from chestxray.system.parallel import parallel_map

Single = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Encode = Callable[[Pixels], bytes]

COLOURS = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
"""256 × RGB, perceptually uniform (matplotlib's "inferno"); zero is its dark end, and transparent besides."""

FADE = 0.75
"""Cells over which heat fades towards the border of what the network saw, which would look like something in it."""

SOFT = 0.2
"""Share of the full scale over which heat appears: where it begins there is no line to see."""


def full_scale_of(maps: npt.NDArray[np.floating[Any]]) -> float:
    """Return the heat of the brightest colour for maps that are to be compared: their hottest cell, ≥ 0."""
    return float(maps.max(initial=0.0))


def say_scale(full_scale: float) -> str:
    """Say in words what the brightest colour stands for."""
    return f"brightest colour: +{full_scale:.2g} in the logit"


def spread_heat(values: Single, shape: tuple[int, int], covered: float) -> Single:
    """Spread a map smoothly over a picture; where it speaks against the finding, and around it, there is no heat.

    The centres of its cells keep their values, those of the outermost cells three quarters of them. Between them heat
    rises or falls and never goes beyond both (monotone cubic: Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984).
    It is cut at zero last, which gives curves; towards the border of what the map covers it fades, without vanishing in
    any cell.

    Args:
        values: h × w, parts of the logit.
        shape: height and width of the picture in pixels.
        covered: share of the sides that the map covers, in the middle, 0–1.

    Returns:
        float32 height × width, in the unit of the logit, ≥ 0.

    Example:
        >>> heat = spread_heat(np.full((7, 7), 0.5, np.float32), (256, 256), covered=224 / 256)
        >>> heat.shape, float(heat.max()), float(heat[:16].max())
        ((256, 256), 0.5, 0.0)
    """
    height, width = shape
    # Not NumPy's products: the threads of its BLAS wait awake for each other, and several pictures are drawn at a time.
    columns = _product(_interpolation(values.shape[1], width, covered), _with_slopes(values.T)).T
    heat = _product(_interpolation(len(values), height, covered), _with_slopes(columns))
    return np.asarray(cv2.threshold(heat, 0.0, 0.0, cv2.THRESH_TOZERO, dst=heat)[1], np.float32)


def _product(a: Single, b: Single) -> Single:
    return np.asarray(cv2.gemm(a, np.ascontiguousarray(b), 1.0, None, 0.0), np.float32)


def _with_slopes(values: Single) -> Single:
    """Return values, n × m, and below them their slopes down the columns: the harmonic mean of both steps, or zero."""
    steps = np.diff(values, axis=0)
    before, after = steps[:-1], steps[1:]
    product = before * after
    slopes = np.zeros_like(values)
    np.divide(2 * product, before + after, out=slopes[1:-1], where=product > 0)
    return np.concatenate([values, slopes])


@lru_cache(maxsize=16)
def _interpolation(cells: int, pixels: int, covered: float) -> Single:
    """Return what turns values and slopes of cells into pixels (Hermite's cubic), pixels × 2 · cells."""
    place = ((np.arange(pixels) + 0.5) / pixels - 0.5) / covered * cells + cells / 2  # in cells, from their border
    inside = np.clip(place - 0.5, 0, cells - 1)
    before = np.minimum(inside.astype(int), max(cells - 2, 0))
    t = inside - before
    after = np.minimum(before + 1, cells - 1)
    weights = np.zeros((pixels, 2 * cells))
    line = np.arange(pixels)
    weights[line, before] += 1 - _smooth(t)
    weights[line, after] += _smooth(t)
    weights[line, cells + before] += t * (1 - t) ** 2
    weights[line, cells + after] += t**2 * (t - 1)
    fade = _smooth(np.minimum(place, cells - place) / FADE)
    return np.asarray(weights * fade[:, None], np.float32)


def _smooth(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rise from 0 to 1 while `t` does, flat at both ends."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def overlay(pixels: Pixels, heat: Single, full_scale: float, opacity: float, least: float = 0.0) -> Pixels:
    """Lay heat on a radiograph; where there is none the radiograph is untouched.

    Args:
        pixels: uint8, height × width.
        heat: height × width, ≥ 0.
        full_scale: the heat of the brightest colour, the same for all findings of an image.
        opacity: of the hottest places, 0–1.
        least: share of the full scale up to which heat is hidden, 0–1.

    Returns:
        uint8 height × width × 3, RGB.
    """
    level = cv2.convertScaleAbs(heat, alpha=255.0 / max(full_scale, 1e-6))
    # All places are in the table; without the mode NumPy makes a copy of them first, which takes four times as long.
    blended = _blends(opacity, least).take(level.astype(np.uint16) << 8 | pixels, mode="clip")
    return np.asarray(cv2.cvtColor(blended.view(np.uint8).reshape(*pixels.shape, 4), cv2.COLOR_RGBA2RGB))


@lru_cache(maxsize=8)
def _blends(opacity: float, least: float) -> npt.NDArray[np.uint32]:
    """Return what grey turns into under heat: 256 levels of heat × 256 of grey, four bytes, the first three RGB.

    A table, because a service draws 14 overlays at once: see docs/decisions/overlays.md.
    """
    level = np.arange(256) / 255
    alpha = (opacity * level * _smooth((level - least) / SOFT))[:, None, None]
    blends = np.zeros((256, 256, 4), np.uint8)
    blends[..., :3] = np.rint((1.0 - alpha) * np.arange(256)[:, None] + alpha * COLOURS[:, None])
    return blends.view(np.uint32).ravel()


def draw_overlays(
    pixels: Pixels, maps: Single, covered: float, full_scale: float, opacity: float, encode: Encode = encode_png
) -> Iterator[bytes]:
    """Draw a picture of each map and encode it, as many at a time as there are cores.

    Args:
        pixels: the radiograph as large as the pictures, uint8, height × width.
        maps: h × w × findings, parts of the logits.
        covered: share of the sides that the maps cover, in the middle, 0–1.
        full_scale: the heat of the brightest colour, in all pictures, so that they compare.
        opacity: of the hottest places, 0–1.
        encode: makes a file of a picture.
    """

    def draw(values: Single) -> bytes:
        return draw_overlay(pixels, values, covered, full_scale, opacity, encode)

    yield from parallel_map(draw, np.moveaxis(maps, -1, 0), in_flight=2 * (os.cpu_count() or 1))


def draw_overlay(
    pixels: Pixels, values: Single, covered: float, full_scale: float, opacity: float, encode: Encode = encode_png
) -> bytes:
    """Draw the picture of one map, h × w, in the calling thread; the other arguments are those of `draw_overlays`."""
    return encode(overlay(pixels, spread_heat(values, pixels.shape, covered), full_scale, opacity))
