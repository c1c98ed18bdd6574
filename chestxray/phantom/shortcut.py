"""Plant a shortcut of known strength: a finding that the size of the file's image tells, as a ward's scanner would."""

from dataclasses import replace

import cv2
import numpy as np

from chestxray.params import PhantomParams
from chestxray.phantom.study import Drawing

FINDING = "Pneumothorax"
SCALE = 0.75
STREAM = 417
"""Keeps the random numbers apart from those of the drawing, which stays the same."""


def take_shortcut(drawing: Drawing, params: PhantomParams, study: tuple[int, int]) -> Drawing:
    """Make the image smaller, with the probability `params.shortcut`, if it shows `FINDING`.

    No other image is small, so its size alone ranks the images of the finding with an AUROC of (1 + shortcut) / 2. With
    0 every drawing stays as it is.

    Args:
        drawing: to be written.
        params: of the batch.
        study: number of the patient, and of the study.
    """
    if (
        FINDING not in drawing.findings
        or np.random.default_rng([params.seed, *study, STREAM]).random() >= params.shortcut
    ):
        return drawing
    side = round(len(drawing.image) * SCALE)
    image = cv2.resize(drawing.image, (side, side), interpolation=cv2.INTER_AREA)
    scale = side / len(drawing.image)
    boxes = {}
    for finding, (x, y, width, height) in drawing.boxes.items():
        left, top, right, bottom = (round(end * scale) for end in (x, y, x + width, y + height))
        boxes[finding] = (left, top, max(right - left, 1), max(bottom - top, 1))
    return replace(drawing, image=np.asarray(image, np.uint8), boxes=boxes)
