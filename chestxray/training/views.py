"""Views of a prepared image: the centre crop, its mirror image, and augmented ones, each a function of its seed."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.params import FeaturesParams

Pixels = npt.NDArray[np.uint8]

PREDICTION_VIEWS = 2
"""The first views, whose mean is the prediction: the centre crop and its mirror image."""


def views(image: Pixels, input_size: int, count: int, params: FeaturesParams, key: str) -> Pixels:
    """The first `count` views of an image.

    View 0 is the centre crop, view 1 its mirror image; the others are rotated, scaled, shifted and re-exposed within
    the ranges of `params`, every second one mirrored.

    Args:
        image: uint8, S × S.
        input_size: side of a view in pixels.
        count: how many views.
        params: ranges and seed.
        key: names the image (its content hash), so that its views don't depend on where it stands in a batch.

    Returns:
        uint8, count × input_size × input_size × 1.
    """
    offset = (image.shape[0] - input_size) // 2
    centre = image[offset : offset + input_size, offset : offset + input_size]
    # 16 hexadecimal digits: 64 bits of the image's name.
    rng = np.random.default_rng([params.seed, int(key[:16], 16)])
    augmented = [_augmented(image, input_size, params, rng) for _ in range(PREDICTION_VIEWS, count)]
    mirrored = [view[:, ::-1] if place % 2 else view for place, view in enumerate(augmented)]
    return np.stack([centre, centre[:, ::-1], *mirrored][:count])[..., None]


def _augmented(image: Pixels, input_size: int, params: FeaturesParams, rng: np.random.Generator) -> Pixels:
    side = image.shape[0]
    angle = rng.uniform(-params.rotation, params.rotation)
    zoom = rng.uniform(*params.scale) * input_size / side
    shift = rng.uniform(-params.shift, params.shift, size=2) * input_size
    cosine, sine = zoom * math.cos(math.radians(angle)), zoom * math.sin(math.radians(angle))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    centre_in, centre_out = np.full(2, (side - 1) / 2), np.full(2, (input_size - 1) / 2)
    matrix = np.column_stack([linear, centre_out + shift - linear @ centre_in])
    warped = cv2.warpAffine(
        image, matrix, (input_size, input_size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(cv2.LUT(warped, _exposure(params, rng)), dtype=np.uint8)


def _exposure(params: FeaturesParams, rng: np.random.Generator) -> Pixels:
    """A table of 256 grey levels: gamma, then contrast about the middle, then brightness."""
    gamma = math.exp(rng.uniform(-params.gamma, params.gamma))
    contrast = rng.uniform(*params.contrast)
    brightness = rng.uniform(-params.brightness, params.brightness)
    levels = (np.linspace(0.0, 1.0, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    return np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)
