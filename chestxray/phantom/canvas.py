"""Draw in centimetres of the patient onto the pixels of a radiograph.

The frontal plane has its origin on the midline at the upper edge of the field: x grows towards the patient's left
(the right of the image), y towards the feet. The pose says where that plane falls on the detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FIELD = 40.0
"""Width and height of the field, in centimetres."""

SUBPIXEL_BITS = 4
"""Fraction bits of the fixed-point coordinates that OpenCV draws with."""

Array = NDArray[np.float32]
Points = NDArray[np.float64]


def curve(points: ArrayLike, samples: int = 32) -> Points:
    """Return a smooth open curve through `points` `(n, 2)` as `(samples, 2)` points: a cubic Hermite spline.

    The tangents are those of Catmull and Rom over the chord length.
    """
    knots = np.asarray(points, dtype=float)
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    slopes = np.diff(knots, axis=0) / np.diff(at)[:, None]
    tangents = np.vstack([slopes[:1], (slopes[1:] + slopes[:-1]) / 2, slopes[-1:]])
    places = np.linspace(0, at[-1], samples)
    i = np.clip(np.searchsorted(at, places, side="right") - 1, 0, len(knots) - 2)
    step = (at[i + 1] - at[i])[:, None]
    t = (places - at[i])[:, None] / step
    start = (1 + 2 * t) * (1 - t) ** 2 * knots[i]
    end = t**2 * (3 - 2 * t) * knots[i + 1]
    return np.asarray(start + end + step * (t * (1 - t) ** 2 * tangents[i] - t**2 * (1 - t) * tangents[i + 1]))


def ramp(values: Array, start: float, end: float) -> Array:
    """Map values smoothly from 0 at `start` to 1 at `end`, which may be the smaller of the two."""
    t = np.asarray(values * np.float32(1 / (end - start)))
    t -= np.float32(start / (end - start))
    np.clip(t, 0, 1, out=t)
    rise = -2 * t
    rise += 3
    rise *= t
    rise *= t
    return rise


def mirror(points: ArrayLike, side: int) -> Points:
    """Return points given for the patient's left (`side` +1), or their mirror image for the right (-1)."""
    return np.asarray(points, dtype=float) * (side, 1)


@dataclass(frozen=True)
class Canvas:
    """A square image that is drawn on in centimetres.

    Attributes:
        size: pixels along each side.
        pose: `(2, 3)` affine map of (x, y, 1) in centimetres to (column, row) in pixels.
    """

    size: int
    pose: Points

    @classmethod
    def posed(cls, size: int, zoom: float, degrees: float, shift: tuple[float, float]) -> Self:
        """Return a canvas whose plane is turned about the centre of the field, magnified and moved.

        Args:
            size: pixels along each side.
            zoom: magnification.
            degrees: of the turn, clockwise.
            shift: right and down, in centimetres.
        """
        scale = size / FIELD * zoom
        angle = np.radians(degrees)
        middle = FIELD / 2
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = size / 2 + size / FIELD * np.asarray(shift) - turn @ (0, middle)
        return cls(size, np.column_stack([turn, offset]))

    @property
    def scale(self) -> float:
        """Pixels per centimetre."""
        return float(np.hypot(*self.pose[:, 0]))

    @cached_property
    def grid(self) -> tuple[Array, Array]:
        """x and y `(size, size)`, in centimetres, of every pixel's centre."""
        inverse = cv2.invertAffineTransform(self.pose)
        column = np.arange(self.size, dtype=np.float32)[None, :] + 0.5
        row = np.arange(self.size, dtype=np.float32)[:, None] + 0.5
        x, y = (np.float32(a) * column + np.float32(b) * row + np.float32(c) for a, b, c in inverse)
        return x, y

    def to_fixed_point(self, points: ArrayLike) -> NDArray[np.int32]:
        """Convert points in centimetres to OpenCV's fixed-point pixel coordinates."""
        pixels = np.asarray(points, dtype=float) @ self.pose[:, :2].T + self.pose[:, 2] - 0.5
        return np.rint(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)

    def fill(self, *outlines: ArrayLike, softness: float = 0.0) -> Array:
        """Draw the inside of closed outlines: 1 inside, 0 outside, blurred over `softness` centimetres."""
        mask = np.zeros((self.size, self.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(mask, [self.to_fixed_point(outline)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return self.blur(np.float32(1 / 255) * mask, softness)

    def stroke(self, paths: Sequence[Points], widths: Sequence[float], values: Sequence[float]) -> Array:
        """Draw paths one over the other, each `widths[i]` centimetres wide with `values[i]` in 0..1.

        A path thinner than a pixel is drawn one pixel wide and as much fainter.
        """
        layer = np.zeros((self.size, self.size), np.uint8)
        ends = np.cumsum([len(path) for path in paths])
        lines = np.split(self.to_fixed_point(np.concatenate(paths)), ends[:-1])
        pixels = np.asarray(widths) * self.scale
        greys = np.rint(255 * np.asarray(values) * np.clip(pixels, 0.2, 1.0)).tolist()
        thicknesses = np.maximum(1, np.rint(pixels)).astype(int).tolist()
        for line, grey, thickness in zip(lines, greys, thicknesses, strict=True):
            cv2.polylines(layer, [line], False, grey, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        return np.float32(1 / 255) * layer

    def ellipse(
        self, centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0, softness: float = 0.3
    ) -> Array:
        """Draw a filled ellipse, turned clockwise, whose edge falls from 1 to 0 over about `softness` centimetres."""
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        angle = np.radians(degrees)
        u = radii[0] * np.cos(turn)
        v = radii[1] * np.sin(turn)
        x = u * np.cos(angle) - v * np.sin(angle)
        y = u * np.sin(angle) + v * np.cos(angle)
        return self.fill(np.column_stack([x, y]) + centre, softness=softness / 3.5)

    def blur(self, image: Array, cm: float) -> Array:
        """Blur with a Gaussian whose standard deviation is in centimetres; not at all below a fifth of a pixel."""
        sigma = cm * self.scale
        if sigma < 0.2:
            return image
        if sigma < 3:
            return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))
        small = cv2.GaussianBlur(
            cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (0, 0), sigma / 4
        )
        return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_CUBIC))

    def distance(self, mask: Array) -> Array:
        """Return the distance in centimetres from the edge of `mask`, inside it; 0 outside."""
        pixels = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(pixels * np.float32(1 / self.scale))

    def noise(self, rng: np.random.Generator, grain: float) -> Array:
        """Draw smooth noise, about standard normal, whose grains are `grain` centimetres across."""
        cells = max(4, min(self.size, round(FIELD / grain)))
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        return np.asarray(cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)) * np.float32(1.3)
