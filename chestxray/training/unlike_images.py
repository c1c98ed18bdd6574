"""Draw what the input gate learns from: altered chest radiographs, and images that are no upright ones.

The gate is measured on them too. Each function takes an image, uint8 S × S, and a generator of
random numbers, and returns an image of the same size. See docs/decisions/input-gate.md.
"""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.inference.input_gate import INVERTED, SIDEWAYS, UPSIDE_DOWN

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Point = npt.NDArray[np.float64]
Draw = Callable[[Pixels, np.random.Generator], Pixels]

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ 0123456789 . , "))


def altered(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the same radiograph as other devices might give it: blurred, noisy, sharper, turned, darker."""
    size = len(image)
    kind = rng.integers(6)
    if kind == 0:
        return _levels(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0) * size / 256))
    if kind == 1:
        return _levels(image + rng.normal(scale=rng.uniform(2.0, 10.0), size=image.shape))
    if kind == 2:
        coarse = cv2.GaussianBlur(image, (0, 0), size / rng.uniform(20.0, 80.0)).astype(np.float32)
        return _levels(image + rng.uniform(0.2, 0.8) * (image - coarse))
    if kind == 3:
        quality = int(rng.integers(25, 76))
        return np.asarray(
            cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0), np.uint8
        )
    if kind == 4:
        matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-8.0, 8.0), rng.uniform(0.85, 1.2))
        return np.asarray(cv2.warpAffine(image, matrix, (size, size)), np.uint8)
    return _levels(255.0 * (image / 255.0) ** rng.uniform(0.6, 1.6) * rng.uniform(0.6, 1.0))


def inverted(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the negative."""
    return 255 - image


def upside_down(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Turn by 180°, mirrored or not."""
    return image[::-1, :: int(rng.choice([-1, 1]))]


def sideways(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Turn by 90° either way, mirrored or not."""
    return np.rot90(image[:, :: int(rng.choice([-1, 1]))], int(rng.choice([1, 3])))


def cropped(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut out a square of a quarter to half the side, such as a shoulder or the abdomen, and enlarge it."""
    size = len(image)
    side = int(size * rng.uniform(0.25, 0.5))
    row, column = rng.integers(0, size - side + 1, 2)
    return np.asarray(cv2.resize(image[row : row + side, column : column + side], (size, size)), np.uint8)


def blank(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return one grey level, with a little shading and grain."""
    shading = rng.uniform(0.0, 30.0) * _clouds(len(image), 2, rng)
    grain = rng.uniform(0.0, 4.0) * rng.normal(size=image.shape)
    return _levels(rng.uniform(0.0, 255.0) + shading + grain)


def noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return random grey levels, from single pixels to clouds."""
    cells = int(len(image) / rng.choice([1, 1, 2, 4, 8, 16]))
    return _stretch(_clouds(len(image), max(2, cells), rng))


def text(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a page of printed lines, dark on bright or bright on dark."""
    size = len(image)
    page = np.full((size, size), int(rng.integers(180, 256)), np.uint8)
    step = int(size * rng.uniform(0.03, 0.1)) + 1
    left, ink, font = int(rng.uniform(0.0, 0.15) * size), int(rng.integers(0, 80)), int(rng.integers(0, 5))
    for row in range(step, size, step):
        if rng.random() < 0.85:
            line = "".join(rng.choice(LETTERS, int(rng.integers(5, 80))))
            cv2.putText(page, line, (left, row), font, step / 32, ink, max(1, step // 16), cv2.LINE_AA)
    return 255 - page if rng.random() < 0.3 else page


def scene(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return shaded shapes that hide each other, as things in a photograph do.

    Statistics of natural images come out of this "dead leaves" model (Lee, Mumford and Huang, International Journal of
    Computer Vision 41, 2001).
    """
    size = len(image)
    canvas = 128 + 60 * _clouds(size, 3, rng)
    for _ in range(int(rng.integers(15, 90))):
        radius = size * min(0.5, 0.02 / rng.power(1.0) ** 0.9)
        corners = rng.integers(0, size, 2) + radius * rng.normal(size=(int(rng.integers(3, 7)), 2))
        shape = np.zeros((size, size), np.uint8)
        if rng.random() < 0.5:
            cv2.fillPoly(shape, [corners.astype(np.int32)], 1)
        else:
            axes = (1 + int(radius), 1 + int(radius * rng.uniform(0.3, 1.0)))
            cv2.ellipse(shape, corners[0].astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        texture = rng.uniform(0, 255) + rng.uniform(0, 40) * _clouds(size, int(rng.integers(4, size)), rng)
        canvas = np.where(shape > 0, texture, canvas).astype(np.float32)
    return _levels(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 1.5)))


def bones(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a drawing of a limb, a hand, a skull or a joint, bright on dark, turned any way."""
    draw = (_limb, _hand, _skull, _joint)[int(rng.integers(4))]
    size = len(image)
    grain = rng.uniform(0, 5) * _clouds(size, size // 4, rng) + rng.uniform(1, 5) * rng.normal(size=(size, size))
    drawn = cv2.GaussianBlur(draw(size, rng) + grain + rng.uniform(0, 25), (0, 0), rng.uniform(0.4, 1.4))
    levels = _levels(drawn * (rng.uniform(200, 255) / np.percentile(drawn, 99.8)))
    return np.rot90(levels, int(rng.integers(4)) if draw in (_limb, _joint) else 0)


NAMED: dict[str, Draw] = {INVERTED: inverted, UPSIDE_DOWN: upside_down, SIDEWAYS: sideways}
"""What an image can be, said by a score of its own."""
OTHER: dict[str, Draw] = {
    "cropped": cropped, "blank": blank, "noise": noise, "text": text,
    "photograph (drawn)": scene, "bones (drawn)": bones,
}  # fmt: skip
"""The other kinds, which share a score: no chest, or too little of it."""


def _levels(plane: npt.NDArray[np.floating] | Pixels) -> Pixels:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def _stretch(plane: Plane) -> Pixels:
    low, high = float(plane.min()), float(plane.max())
    return _levels((plane - low) * (255.0 / max(high - low, 1e-6)))


def _clouds(size: int, cells: int, rng: np.random.Generator) -> Plane:
    """Return normal random numbers on a grid of cells, enlarged smoothly to size × size."""
    grid = rng.normal(size=(cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _bone(canvas: Plane, start: Point, end: Point, width: float, level: float) -> None:
    """Add a bone: a tube that is brighter at its cortex and wider at its ends."""
    length = float(np.linalg.norm(end - start)) + 1e-6
    direction = (end - start) / length
    y, x = np.mgrid[: len(canvas), : len(canvas)].astype(np.float32)
    along = ((x - start[0]) * direction[0] + (y - start[1]) * direction[1]) / length
    across = (y - start[1]) * direction[0] - (x - start[0]) * direction[1]
    half_width = width * (0.5 + 0.35 * np.clip(np.abs(2 * along - 1), 0, 1) ** 3)
    beyond = (along - np.clip(along, 0, 1)) * length
    radius = np.sqrt(across**2 + beyond**2) / half_width
    canvas += level * np.where(radius < 1, 0.6 + 0.4 * np.clip(radius, 0, 1) ** 4, 0).astype(np.float32)


def _flesh(canvas: Plane, start: Point, end: Point, width: float, level: float) -> None:
    """Lay soft tissue, thicker in its middle, along a line."""
    mask = np.zeros(canvas.shape, np.uint8)
    cv2.line(mask, start.astype(int).tolist(), end.astype(int).tolist(), 255, max(1, int(width)))
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / (width / 2 + 1e-6)
    np.maximum(canvas, level * np.sqrt(np.clip(depth, 0, 1)), out=canvas)


def _limb(size: int, rng: np.random.Generator) -> Plane:
    """Draw two segments of a limb, each of one or two bones, that meet in the middle."""
    canvas = np.zeros((size, size), np.float32)
    centre = size / 2 + rng.normal(0, 0.08 * size, 2)
    angle = rng.normal(0, 0.25)
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    width, level = size * rng.uniform(0.12, 0.3), rng.uniform(60, 120)
    _flesh(canvas, centre - along * size, centre + along * size, width * rng.uniform(1.6, 3), rng.uniform(40, 120))
    for side in (-1, 1):
        count = int(rng.integers(1, 3))
        for place in range(count):
            shifted = centre + across * width * (place - (count - 1) / 2) * 0.6
            near, far = shifted + side * along * 0.02 * size, shifted + side * along * 0.9 * size
            _bone(canvas, near, far, width / count**0.8, level)
    return canvas


def _hand(size: int, rng: np.random.Generator) -> Plane:
    """Draw a wrist and five fingers spread from it."""
    canvas = np.zeros((size, size), np.float32)
    wrist = size * np.array([0.5, 0.95]) + rng.normal(0, 0.05 * size, 2)
    reach, spread = size * rng.uniform(0.6, 1.0), rng.uniform(0.15, 0.28)
    down, soft, level = np.array([0.0, reach]), rng.uniform(40, 120), rng.uniform(60, 120)
    for start, end, width in ((0.0, -0.2, 0.3), (0.0, 0.3, 0.22)):
        _flesh(canvas, wrist + down * start, wrist + down * end, width * reach, soft)
    for finger in range(5):
        angle = (finger - 2) * spread + rng.normal(0, 0.03)
        direction = np.array([np.sin(angle), -np.cos(angle)])
        width = reach * rng.uniform(0.04, 0.07)
        lengths = reach * np.array([0.32, 0.2, 0.13, 0.09] if finger else [0.22, 0.16, 0.12])
        knuckles = wrist + direction * np.cumsum([0.15 * reach, *lengths])[:, None]
        _flesh(canvas, wrist, knuckles[-1], 2.2 * width, soft)
        for near, far in pairwise(knuckles):
            _bone(canvas, near + 2 * direction, far - 2 * direction, width, level)
    return canvas


def _skull(size: int, rng: np.random.Generator) -> Plane:
    """Draw a bright shell with brighter and darker places in it, on a neck."""
    canvas = np.zeros((size, size), np.float32)
    centre = size * np.array([0.5 + rng.normal(0, 0.05), rng.uniform(0.4, 0.55)])
    _flesh(canvas, centre, centre + np.array([0.0, 0.8 * size]), 0.3 * size, 60)
    mask = np.zeros((size, size), np.uint8)
    axes = (int(size * rng.uniform(0.28, 0.42)), int(size * rng.uniform(0.35, 0.48)))
    cv2.ellipse(mask, centre.astype(int).tolist(), axes, rng.normal(0, 20), 0, 360, 255, -1)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    canvas = np.where(mask > 0, rng.uniform(40, 120) * (0.6 + np.clip(depth / size, 0, 0.4)), canvas).astype(np.float32)
    canvas += np.where((depth > 0) & (depth < size * rng.uniform(0.02, 0.05)), rng.uniform(60, 120), 0)
    for _ in range(int(rng.integers(3, 9))):
        place = centre + size * np.array([rng.normal(0, 0.15), rng.uniform(0, 0.35)])
        hollow = np.zeros((size, size), np.uint8)
        radii = (size * rng.uniform(0.02, 0.1, 2)).astype(int).tolist()
        cv2.ellipse(hollow, place.astype(int).tolist(), radii, 0, 0, 360, 1, -1)
        canvas += hollow * np.float32(rng.choice([-1, 1]) * rng.uniform(10, 60))
    return canvas


def _joint(size: int, rng: np.random.Generator) -> Plane:
    """Draw thick bones every way in soft tissue that fills the image, as about a hip or a spine."""
    level = rng.uniform(60, 120)
    canvas = np.full((size, size), rng.uniform(35, 110), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        angle = rng.uniform(0, np.pi)
        middle, half = rng.uniform(0, size, 2), size * rng.uniform(0.1, 0.4) * np.array([np.cos(angle), np.sin(angle)])
        _bone(canvas, middle - half, middle + half, size * rng.uniform(0.06, 0.25), level * rng.uniform(0.4, 1.0))
    for _ in range(int(rng.integers(0, 3))):
        head = np.zeros((size, size), np.uint8)
        cv2.circle(head, rng.integers(0, size, 2).tolist(), int(size * rng.uniform(0.08, 0.2)), 255, -1)
        depth = cv2.distanceTransform(head, cv2.DIST_L2, 3)
        canvas += np.where(head > 0, level * (0.7 + 0.3 * np.exp(-depth / 4)), 0).astype(np.float32)
    return canvas
