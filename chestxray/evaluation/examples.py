"""Choose test images that show what a model finds, detects wrongly and misses, and draw the heat of each."""

from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.figures import ExamplePicture
from chestxray.imaging.radiograph import fit
from chestxray.inference.bundle import Bundle
from chestxray.inference.heatmap import full_scale_of, overlay, say_scale, spread_heat
from chestxray.labels import LabelMasks
from chestxray.params import GradcamParams

FOUND = "detected and there"
WRONG = "detected, not there"
MISSED = "there, not detected"
OUTCOMES = (FOUND, WRONG, MISSED)
PER_OUTCOME = 5


class Example(NamedTuple):
    """A decision to show: `row` of the test images, `column` of the findings."""

    outcome: str
    row: int
    column: int


def choose_examples(
    labels: LabelMasks,
    positive: npt.NDArray[np.bool_],
    negative: npt.NDArray[np.bool_],
    patients: npt.NDArray[np.str_],
    seed: int,
) -> list[Example]:
    """Draw some decisions of each outcome, as many findings as there are, no patient twice.

    They are drawn, not picked, so that the model looks neither better nor worse than it is: findings take turns in an
    order that the seed draws, and so do the images of each.

    Args:
        labels: of n images and k findings.
        positive: `(n, k)`, where a finding is detected.
        negative: `(n, k)`, where it is decided that it is not.
        patients: `(n,)`.
        seed: of the draw.

    Returns:
        At most `PER_OUTCOME` of each of `OUTCOMES`, in their order.
    """
    rng = np.random.default_rng(seed)
    masks = (labels.present & positive, labels.absent & positive, labels.present & negative)
    chosen: list[Example] = []
    seen: set[str] = set()
    for outcome, mask in zip(OUTCOMES, masks, strict=True):
        columns = rng.permutation(mask.shape[1]).tolist()
        queue = deque((column, iter(rng.permutation(np.flatnonzero(mask[:, column])).tolist())) for column in columns)
        end = len(chosen) + PER_OUTCOME
        while queue and len(chosen) < end:
            column, rows = queue.popleft()
            row = next((row for row in rows if patients[row] not in seen), None)
            if row is not None:
                seen.add(patients[row])
                chosen.append(Example(outcome, row, column))
                queue.append((column, rows))
    return chosen


def draw_examples(
    bundle: Bundle, test: Dataset, chosen: list[Example], boxes: pd.DataFrame, params: GradcamParams
) -> dict[str, list[ExamplePicture]]:
    """Draw the heat of each example, in a scale of its own.

    Args:
        bundle: the model with its operating points.
        test: the test images.
        chosen: of them.
        boxes: `batch`, `image`, `finding`, `x`, `y`, `w`, `h` in pixels of the prepared image.
        params: size and opacity.

    Returns:
        Pictures by outcome, in the order of `OUTCOMES`.
    """
    pictures: dict[str, list[ExamplePicture]] = {outcome: [] for outcome in OUTCOMES}
    card = bundle.card
    for outcome, row, column in chosen:
        study, pixels = test.studies.iloc[row], np.asarray(test.pixels(row))
        probabilities, maps = bundle.predict(pixels[None, ..., None])
        values = maps[0, ..., column]
        large = fit(pixels, params.size)
        full_scale = full_scale_of(values)
        mine = boxes[
            (boxes["batch"] == study["batch"])
            & (boxes["image"] == study["image"])
            & (boxes["finding"] == card.findings[column])
        ]
        pictures[outcome].append(
            ExamplePicture(
                card.titles[column],
                f"p = {probabilities[0, column]:.2f} (threshold {bundle.thresholds[column]:.2f})",
                say_scale(full_scale),
                str(study["image"]),
                overlay(large, spread_heat(values, large.shape, card.covered), full_scale, params.opacity),
                (mine[["x", "y", "w", "h"]].to_numpy() * params.size / card.size).tolist(),
            )
        )
    return pictures
