"""Check whether a decoded image can be a frontal chest radiograph, and what makes an answer about it doubtful."""

from collections.abc import Sequence
from typing import Literal

from chestxray.imaging.radiograph import Check, Radiograph, RadiographError

MIN_SIDE = 32
"""Pixels. In a smaller image nothing of a chest can be seen."""

MAX_ASPECT = 4.0
"""Longer side over shorter side."""

SQUARE_ASPECT = 1.5
"""Beyond it an image is squeezed noticeably."""

FEW_LEVELS = 64
"""Of 256 grey levels."""

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
    return [*radiograph.checks, *_shape_checks(radiograph, size), *_level_checks(radiograph)]


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
    """Check the range of the grey levels."""
    levels = int(radiograph.pixels.max()) - int(radiograph.pixels.min())
    if levels == 0:
        return [Check("blank", "refused", "All pixels of the image are the same.", levels, 0)]
    if levels <= FEW_LEVELS:
        message = "Pale or dark: the grey levels fill less than a quarter of the scale, unlike those learned from."
        return [Check("grey-range", "warned", message, levels, FEW_LEVELS)]
    return []
