"""Place the boxes of a batch in its images as they are prepared, and reject those that lie in none."""

from typing import NamedTuple

import pandas as pd

from chestxray.batch_layout import BOXES
from chestxray.datasets.tables.rejections import Rejection

ROUNDING = 1.0
"""Pixels by which a box may reach beyond its image."""
FEW = 0.05
"""Of a batch's boxes; where more of them reach beyond their images, they are all in pixels of another size."""
TURNED = "box left out: its image was turned upright, by EXIF or PatientOrientation, and the box would not fit"


class Placed(NamedTuple):
    """What became of the boxes.

    Attributes:
        boxes: `image`, `finding`, `x`, `y`, `w`, `h` in pixels of the prepared images.
        rejected: those that can't be used.
        turned: those of images that were turned upright, which are no error of the table.
    """

    boxes: pd.DataFrame
    rejected: list[Rejection]
    turned: list[Rejection]


def place_boxes(boxes: pd.DataFrame, side: int | None, files: pd.DataFrame, size: int) -> Placed:
    """Place boxes in the prepared images.

    Boxes beyond their image show in what pixels they are not: where more than a few are, the others fit by chance, and
    none is used.

    Args:
        boxes: `image`, `finding`, `x`, `y`, `w`, `h`, `where`.
        side: of the square images in whose pixels they are; None where it is the image files.
        files: `image`, `width`, `height` (pixels) and `turned` of the images that can be used; boxes of others are not
            looked at.
        size: side of the prepared images in pixels.
    """
    found = boxes.merge(files[["image", "width", "height", "turned"]], on="image")
    upright = ~found["turned"].astype(bool)
    turned, found = found[~upright], found[upright]
    width, height = (found[name] if side is None else side for name in ("width", "height"))
    beyond = (found["x"] + found["w"] > width + ROUNDING) | (found["y"] + found["h"] > height + ROUNDING)
    faults = pd.Series("", found.index, dtype=object)
    faults[beyond] = "it reaches beyond its image"
    if beyond.sum() > FEW * len(found):
        faults[:] = (
            f"{beyond.sum()} of {len(found)} boxes of the batch reach beyond their images, so none is taken to be "
            "in pixels of the image files; give them so, or take them away"
        )
    if side is not None:
        cut = found["width"] != found["height"]
        faults[cut] = f"it is in pixels of NIH's square images, and this image is not square; take {BOXES} away"
    placed = found.assign(
        **{name: found[name] * (size / width) for name in ("x", "w")},
        **{name: found[name] * (size / height) for name in ("y", "h")},
    )
    bad, fits = found.assign(fault="box: " + faults)[faults != ""], placed[faults == ""]
    return Placed(fits[["image", "finding", *"xywh"]], _reject(bad), _reject(turned.assign(fault=TURNED)))


def _reject(boxes: pd.DataFrame) -> list[Rejection]:
    """Reject boxes for their `fault`."""
    return [Rejection(*row) for row in zip(boxes["image"], boxes["where"], boxes["fault"], strict=True)]
