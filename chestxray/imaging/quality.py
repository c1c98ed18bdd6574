"""Refuse images that can't be chest radiographs, and list what makes an answer about an image doubtful."""

from chestxray.imaging.radiograph import Radiograph, RadiographError

MIN_SIDE = 32
"""Pixels. In a smaller image nothing of a chest can be seen."""

MAX_ASPECT = 4.0
"""Longer side over shorter side."""

TWELVE_BITS = (4095 + 128) // 257
"""The largest value of a 12-bit detector, 4095, after the scaling of 16 bits to 8."""

FEW_LEVELS = 64
"""Of 256 grey levels."""


def check_plausible(radiograph: Radiograph) -> None:
    """Refuse an image that can't show a chest.

    Raises:
        RadiographError: too small, too long, all pixels are the same, or `check_scale` raises it.
    """
    height, width = radiograph.pixels.shape
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
        raise RadiographError(f"no chest can be seen in an image of {width}×{height} pixels", "not-a-radiograph")
    if radiograph.pixels.min() == radiograph.pixels.max():
        raise RadiographError("all pixels of the image are the same", "not-a-radiograph")
    check_scale(radiograph)


def check_scale(radiograph: Radiograph) -> None:
    """Refuse a 16-bit PNG that holds the values of a detector of 12 bits or fewer unscaled.

    Raises:
        RadiographError: it does; decoded, it is nearly black.
    """
    if radiograph.format == "PNG" and radiograph.bit_depth == 16 and radiograph.pixels.max() <= TWELVE_BITS:
        reason = "nearly black: a 16-bit PNG whose grey levels fill 12 bits or fewer; scale them to 0–65535"
        raise RadiographError(reason, "not-a-radiograph")


def image_warnings(radiograph: Radiograph, size: int) -> list[str]:
    """Return what a reader of the answer should know about the image, in words.

    Args:
        radiograph: the image that was answered.
        size: side in pixels of the square that the model looks at.
    """
    height, width = radiograph.pixels.shape
    found = []
    if min(width, height) < size:
        found.append(f"smaller than the {size}×{size} pixels that the model looks at")
    if max(width, height) > 1.5 * min(width, height):
        found.append("far from square: it was squeezed into a square, which changes the proportions of the heart")
    if int(radiograph.pixels.max()) - int(radiograph.pixels.min()) <= FEW_LEVELS:
        found.append("pale or dark: its grey levels fill less than a quarter of the scale, unlike those learned from")
    if radiograph.view_position not in (None, "PA", "AP"):
        found.append("not a frontal view: the model was made for PA and AP views, so its answer means nothing")
    return found
