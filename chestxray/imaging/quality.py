"""Whether a decoded image can be a chest radiograph, and what makes an answer about it doubtful."""

from chestxray.imaging.radiograph import Radiograph, RadiographError

MIN_SIDE, MAX_ASPECT = 32, 4.0
"""Below and beyond these nothing of a chest can be seen."""
TWELVE_BITS = (4095 + 128) // 257
"""What the largest value of a 12-bit detector becomes when it stands in 16 bits as it is."""

FEW_LEVELS = 64
"""Of 256."""


def check_plausible(radiograph: Radiograph) -> None:
    """Looks for what no radiograph is.

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
    """Looks for the values of a detector of 12 bits or fewer that stand in 16 bits as they are.

    Raises:
        RadiographError: they do, which would make a nearly black image of them.
    """
    if radiograph.format == "PNG" and radiograph.bit_depth == 16 and radiograph.pixels.max() <= TWELVE_BITS:
        reason = "nearly black: a 16-bit PNG whose grey levels fill 12 bits or fewer; scale them to 0–65535"
        raise RadiographError(reason, "not-a-radiograph")


def image_warnings(radiograph: Radiograph, size: int) -> list[str]:
    """What a reader of the answer should know, in words.

    Args:
        radiograph: that was looked at.
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
