"""Take the grey of pixels that are stored as colours and have none, as scanners of films and screenshots write them."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.imaging.radiograph import Pixels, RadiographError

Samples = npt.NDArray[np.integer[Any]]

ROUNDING = 2
"""Levels of 256 that a conversion to another colour space and back leaves between the channels of a grey pixel."""


def grey_of_colours(values: Samples, photometric: str, bits: int) -> Pixels:
    """Return the grey levels of pixels of three samples; no look-up table or window belongs to these.

    Args:
        values: uint8 or uint16, rows × columns × 3, red, green and blue, or Y, Cb and Cr.
        photometric: the photometric interpretation, RGB or one of YBR.
        bits: stored.

    Returns:
        uint8, rows × columns; full scale of the bits is full scale of the levels.

    Raises:
        RadiographError: a pixel has a colour.
    """
    grey = grey_channel(values, bits)
    if grey is None:
        raise RadiographError(
            f"PhotometricInterpretation is {photometric} and pixels have colours; grey pixels are accepted",
            "not-a-radiograph",
        )
    return np.asarray(grey if bits == 8 else cv2.convertScaleAbs(grey, alpha=255 / ((1 << bits) - 1)), np.uint8)


def grey_channel(values: Samples, bits: int) -> Samples | None:
    """Return the channel that is the grey of pixels of three samples, whatever the header calls these; None of colours.

    Either all channels are equal, or the second and third, of colour, are neutral.
    """
    first, second, third = (np.asarray(cv2.extractChannel(values, channel)) for channel in range(3))
    limit = ROUNDING << max(bits - 8, 0)
    neutral = np.full(1, 1 << bits - 1, values.dtype)
    if _apart(first, second) <= limit and _apart(second, third) <= limit:
        return second
    if max(_apart(second, neutral), _apart(third, neutral)) <= limit:
        return first
    return None


def _apart(one: Samples, other: Samples) -> int:
    """Return the largest difference between two channels, or a channel and a constant."""
    if other.size == 1:
        return max(int(one.max()) - int(other[0]), int(other[0]) - int(one.min()))
    return int(cv2.absdiff(one, other).max())
