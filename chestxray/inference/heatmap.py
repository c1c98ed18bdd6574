"""Lay Grad-CAM heatmaps on radiographs.

With a linear head on averaged activations Grad-CAM is CAM (Selvaraju et al., ICCV 2017, section 3; Zhou et al.,
CVPR 2016): the maps come out of the model beside the logits.
"""

import os
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.system.parallel import parallel_map

Single = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

COLOURS = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
"""256 × RGB, perceptually uniform (matplotlib's "inferno"); zero is its dark end, and transparent besides."""

QUICK_PNG = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
"""See docs/decisions/overlays.md."""


def upscale_maps(maps: Single, size: int, input_size: int) -> Single:
    """Bring maps to the size of the prepared image: what speaks against a finding is cut at zero.

    Args:
        maps: h × w × findings, parts of the logits.
        size: side of the prepared image in pixels.
        input_size: side of its central square, which the maps cover; around it there is no heat.

    Returns:
        float32 size × size × findings, in the unit of the logits, ≥ 0.

    Example:
        >>> heat = upscale_maps(np.full((7, 7, 14), 0.5, np.float32), size=256, input_size=224)
        >>> heat.shape, float(heat.max()), float(heat[:16].max())
        ((256, 256, 14), 0.5, 0.0)
    """
    inner = cv2.resize(np.maximum(maps, 0.0), (input_size, input_size), interpolation=cv2.INTER_LINEAR)
    heat = np.zeros((size, size, maps.shape[-1]), np.float32)
    offset = (size - input_size) // 2
    heat[offset : offset + input_size, offset : offset + input_size] = inner.reshape(input_size, input_size, -1)
    return heat


def overlay(pixels: Pixels, heat: Single, full_scale: float, opacity: float) -> Pixels:
    """Lay heat on a radiograph; where there is none the radiograph is untouched.

    Args:
        pixels: uint8, S × S.
        heat: S × S, ≥ 0.
        full_scale: the heat of the brightest colour, the same for all findings of an image.
        opacity: of the hottest places, 0–1.

    Returns:
        uint8 S × S × 3, RGB.
    """
    level = cv2.convertScaleAbs(heat, alpha=255.0 / max(full_scale, 1e-6))
    blended = _blends(opacity).take(level.astype(np.uint16) << 8 | pixels)
    return np.asarray(cv2.cvtColor(blended.view(np.uint8).reshape(*pixels.shape, 4), cv2.COLOR_RGBA2RGB))


@lru_cache(maxsize=8)
def _blends(opacity: float) -> npt.NDArray[np.uint32]:
    """Return what grey turns into under heat: 256 levels of heat × 256 of grey, four bytes, the first three RGB.

    A table, because a service draws 14 overlays at once: see docs/decisions/overlays.md.
    """
    alpha = (opacity / 255 * np.arange(256))[:, None, None]
    blends = np.zeros((256, 256, 4), np.uint8)
    blends[..., :3] = np.rint((1.0 - alpha) * np.arange(256)[:, None] + alpha * COLOURS[:, None])
    return blends.view(np.uint32).ravel()


def overlay_pngs(
    pixels: Pixels, maps: Single, input_size: int, opacity: float, shape: tuple[int, int]
) -> Iterator[bytes]:
    """Draw a PNG for each map, as many at a time as there are cores; one colour scale for all, so that they compare.

    Args:
        pixels: uint8, S × S, as the model sees a radiograph: squeezed into a square.
        maps: h × w × findings, parts of the logits.
        input_size: side of the central square of the image that the maps cover.
        opacity: of the hottest places, 0–1.
        shape: height and width of the pictures, which brings back the proportions of the radiograph.
    """
    full_scale = float(maps.max(initial=0.0))

    def draw(place: int) -> bytes:
        return overlay_png(pixels, maps[..., place], input_size, opacity, shape, full_scale)

    yield from parallel_map(draw, range(maps.shape[-1]), in_flight=2 * (os.cpu_count() or 1))


def overlay_png(
    pixels: Pixels, map: Single, input_size: int, opacity: float, shape: tuple[int, int], full_scale: float
) -> bytes:
    """Draw the PNG of one map, h × w, in the calling thread; the other arguments are those of `overlay_pngs`.

    Args:
        pixels: as there.
        map: parts of the logit.
        input_size: as there.
        opacity: as there.
        shape: as there.
        full_scale: the heat of the brightest colour.
    """
    heat = upscale_maps(map[..., None], len(pixels), input_size)[..., 0]
    picture = overlay(pixels, heat, full_scale, opacity)
    return encode_png(np.asarray(cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8))


def encode_png(picture: Pixels) -> bytes:
    """Encode a picture, uint8 H × W × 3, RGB, as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), QUICK_PNG)[1].tobytes()
