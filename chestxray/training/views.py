"""Make the views of a prepared image: the centre crop, its mirror image, and augmented ones."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.params import FeaturesParams

Pixels = npt.NDArray[np.uint8]

PREDICTION_VIEWS = 2
"""How many views a prediction is the mean of: the first ones, the centre crop and its mirror image."""


def views(image: Pixels, input_size: int, count: int, params: FeaturesParams, key: str) -> Pixels:
    """Return the first `count` views of an image, the same for the same image, params and key.

    View 0 is the centre crop, view 1 its mirror image; the others are rotated, scaled, shifted and re-exposed within
    the ranges of `params`, every second one mirrored.

    Args:
        image: uint8, S × S.
        input_size: side of a view in pixels.
        count: how many views.
        params: ranges and seed.
        key: hexadecimal content hash of the image, from whose first 16 digits the ranges are drawn, so that the views
            don't depend on the other images.

    Returns:
        uint8, count × input_size × input_size × 1.

    Example:
        >>> import numpy as np
        >>> from chestxray.params import FeaturesParams
        >>> params = FeaturesParams(views=8, cache_activations=True, rotation=7.0, scale=(1.02, 1.27), shift=0.04,
        ...                         gamma=0.25, contrast=(0.85, 1.15), brightness=0.08, seed=1)
        >>> image = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
        >>> seen = views(image, 224, 8, params, key="0123456789abcdef")
        >>> seen.shape
        (8, 224, 224, 1)
        >>> np.array_equal(seen[1], seen[0][:, ::-1])
        True
    """
    offset = (image.shape[0] - input_size) // 2
    centre = image[offset : offset + input_size, offset : offset + input_size]
    rng = np.random.default_rng([params.seed, int(key[:16], 16)])
    augmented = [_augment(image, input_size, params, rng) for _ in range(PREDICTION_VIEWS, count)]
    mirrored = [view[:, ::-1] if place % 2 else view for place, view in enumerate(augmented)]
    return np.stack([centre, centre[:, ::-1], *mirrored][:count])[..., None]


def _augment(image: Pixels, input_size: int, params: FeaturesParams, rng: np.random.Generator) -> Pixels:
    """Rotate, scale and shift an image about its centre in one resampling, and change its exposure."""
    side = image.shape[0]
    angle = rng.uniform(-params.rotation, params.rotation)
    zoom = rng.uniform(*params.scale) * input_size / side
    shift = rng.uniform(-params.shift, params.shift, size=2) * input_size
    cosine = zoom * math.cos(math.radians(angle))
    sine = zoom * math.sin(math.radians(angle))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    centre_in = np.full(2, (side - 1) / 2)
    centre_out = np.full(2, (input_size - 1) / 2)
    matrix = np.column_stack([linear, centre_out + shift - linear @ centre_in])
    warped = cv2.warpAffine(
        image, matrix, (input_size, input_size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(cv2.LUT(warped, _exposure_table(params, rng)), dtype=np.uint8)


def _exposure_table(params: FeaturesParams, rng: np.random.Generator) -> Pixels:
    """Return the new level of each of 256 grey levels after gamma, contrast about the middle, and brightness."""
    gamma = math.exp(rng.uniform(-params.gamma, params.gamma))
    contrast = rng.uniform(*params.contrast)
    brightness = rng.uniform(-params.brightness, params.brightness)
    levels = (np.linspace(0.0, 1.0, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    return np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)
