"""Check whether a decoded image can be a frontal chest radiograph, and what makes an answer about it doubtful."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from chestxray.imaging.radiograph import Check, Radiograph, RadiographError

MIN_SIDE = 32
"""Pixels. In a smaller image nothing of a chest can be seen."""

MAX_ASPECT = 4.0
"""Longer side over shorter side."""

SQUARE_ASPECT = 1.5
"""Beyond it an image is squeezed noticeably."""

FEW_LEVELS = 64
"""Of 256 grey levels."""

# None of the 948 + 24 films that docs/decisions/still-images.md names reaches any of these.
BLANK = 0.99
"""Share of the pixels that have the same grey."""

SATURATED = 0.99
"""Share of the pixels that are black or white, beyond which no chest is left."""

MOSTLY_SATURATED = 0.6

NEARLY_ALL = 0.999
"""Share of the pixels whose grey levels are counted; the blur of a JPEG is not."""

TWO_LEVELS = 2

COARSE_LEVELS = 16

COUNTED = 2**18
"""Pixels whose grey levels are counted, at least, of a larger image: those of every n-th row."""

Verdict = Literal["accepted", "warned", "refused"]


def overall_verdict(checks: Sequence[Check]) -> Verdict:
    """Return the gravest verdict of the checks that found something; "accepted" if none did."""
    verdicts = {check.verdict for check in checks}
    return "refused" if "refused" in verdicts else "warned" if verdicts else "accepted"


def check_accepted(checks: Sequence[Check]) -> None:
    """Refuse an image that a check refuses.

    Raises:
        RadiographError: "not-a-radiograph", with the sentences of the checks that refuse it.
    """
    refused = [check.message for check in checks if check.verdict == "refused"]
    if refused:
        raise RadiographError(" ".join(refused), "not-a-radiograph", tuple(checks))


def quality_checks(radiograph: Radiograph, size: int) -> list[Check]:
    """Return what the header and the pixels of an image make doubtful or pointless, the header's checks first.

    Args:
        radiograph: the image, as decoded.
        size: side in pixels of the square that the model looks at.
    """
    return [*radiograph.checks, *pixel_checks(radiograph, size)]


def pixel_checks(radiograph: Radiograph, size: int) -> list[Check]:
    """Return what the pixels alone make doubtful or pointless; arguments are those of `quality_checks`."""
    return [*_shape_checks(radiograph, size), *_level_checks(radiograph)]


def _shape_checks(radiograph: Radiograph, size: int) -> list[Check]:
    """Check the number of pixels and the proportions."""
    height, width = radiograph.pixels.shape
    shorter = min(width, height)
    aspect = max(width, height) / shorter
    given = f"The image has {width}×{height} pixels"
    found = []
    if shorter < MIN_SIDE:
        message = f"{given}: no chest can be seen in fewer than {MIN_SIDE} on a side."
        found.append(Check("image-size", "refused", message, shorter, MIN_SIDE))
    elif shorter < size:
        message = f"{given}, fewer than the {size}×{size} that the model looks at."
        found.append(Check("image-size", "warned", message, shorter, size))
    if aspect > MAX_ASPECT:
        message = f"{given}: no chest is more than {MAX_ASPECT:g} times as long as wide."
        found.append(Check("proportions", "refused", message, aspect, MAX_ASPECT))
    elif aspect > SQUARE_ASPECT:
        message = f"{given}: it was squeezed into a square, which changes the proportions of the heart."
        found.append(Check("proportions", "warned", message, aspect, SQUARE_ASPECT))
    return found


def _level_checks(radiograph: Radiograph) -> list[Check]:
    """Check how the pixels are spread over the 256 grey levels."""
    step = max(1, radiograph.pixels.size // COUNTED)
    counts = cv2.calcHist([np.ascontiguousarray(radiograph.pixels[::step])], [0], None, [256], [0, 256]).ravel()
    shares = counts / counts.sum()
    if shares.max() >= BLANK:
        message = f"{shares.max():.1%} of the pixels have the same grey: nothing can be seen."
        return [Check("blank", "refused", message, float(shares.max()), BLANK)]
    found = [*_saturation_checks(float(shares[0] + shares[255])), *_count_checks(shares)]
    occupied = np.flatnonzero(counts)
    spread = int(occupied[-1] - occupied[0])
    if spread <= FEW_LEVELS:
        message = "Pale or dark: the grey levels fill less than a quarter of the scale, unlike those learned from."
        found.append(Check("grey-range", "warned", message, spread, FEW_LEVELS))
    return found


def _saturation_checks(share: float) -> list[Check]:
    """Check the share of pixels that are black or white."""
    given = f"{share:.0%} of the pixels are black or white"
    if share >= SATURATED:
        return [Check("saturated", "refused", f"{given}: no chest is left.", share, SATURATED)]
    if share >= MOSTLY_SATURATED:
        message = f"{given}: overexposed, or mostly margin."
        return [Check("saturated", "warned", message, share, MOSTLY_SATURATED)]
    return []


def _count_checks(shares: npt.NDArray[np.float64]) -> list[Check]:
    """Check how many grey levels hold nearly all pixels."""
    levels = int(np.searchsorted(np.cumsum(np.sort(shares)[::-1]), NEARLY_ALL)) + 1
    if levels <= TWO_LEVELS:
        message = f"The image has {levels} grey levels, as text has; a radiograph has more than {COARSE_LEVELS}."
        return [Check("grey-levels", "refused", message, levels, TWO_LEVELS)]
    if levels <= COARSE_LEVELS:
        message = f"The image has {levels} grey levels; a radiograph has more than {COARSE_LEVELS}."
        return [Check("grey-levels", "warned", message, levels, COARSE_LEVELS)]
    return []
