"""Draw overlays for test studies: which places speak for the positive findings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset, label_cells
from chestxray.findings import UNLABELLED
from chestxray.imaging.pictures import encode_png
from chestxray.imaging.radiograph import fit
from chestxray.inference.bundle import Bundle
from chestxray.inference.caption import captioned
from chestxray.inference.card import Card
from chestxray.inference.decisions import decide
from chestxray.inference.heatmap import full_scale_of, overlay, say_scale, spread_heat
from chestxray.params import GradcamParams
from chestxray.tracking.progress import progress

Pixels = npt.NDArray[np.uint8]

INDEX = ("batch", "image", "finding", "probability", "threshold", "truth", "peak_x", "peak_y", "peak_in_box", "file")
"""Columns of the index; peaks in pixels of the prepared image; `truth` is empty where the image does not label the
finding, `peak_in_box` where no true box is known."""
TRUTH_SAID = {1: "present", 0: "absent", UNLABELLED: "not labelled"}
NAME_LENGTH = 80
"""Characters of an overlay's file name that say what it shows."""


def choose_studies(decisions: npt.NDArray[np.bool_], count: int, seed: int) -> list[int]:
    """Draw studies with a positive finding, going round the findings so that rare ones are shown too.

    Args:
        decisions: bool, N × k.
        count: how many studies at most.
        seed: of the draw.

    Returns:
        Row numbers, in order.
    """
    rng = np.random.default_rng(seed)
    queues = [rng.permutation(np.flatnonzero(column)).tolist() for column in decisions.T]
    chosen: set[int] = set()
    while len(chosen) < count and any(queues):
        for queue in filter(None, queues):
            if len(chosen) < count:
                chosen.add(queue.pop())
    return sorted(chosen)


def write_overlays(
    bundle: Bundle, test: Dataset, chosen: list[int], boxes: pd.DataFrame, params: GradcamParams, out: Path
) -> pd.DataFrame:
    """Write an overlay per positive finding of the chosen studies.

    Args:
        bundle: the model with its operating points.
        test: the test images.
        chosen: row numbers in `test`.
        boxes: `batch`, `image`, `finding`, `x`, `y`, `w`, `h` in pixels of the prepared image.
        params: size and opacity.
        out: a folder that does not exist yet.

    Returns:
        The index, with the columns `INDEX`.
    """
    out.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for index in progress(chosen, "Grad-CAM", len(chosen), "overlay"):
        for row, picture in _overlays(bundle, test, index, boxes, params):
            row["file"] = _file_name(len(rows), f"{row['batch']}_{row['image']}_{row['finding']}")
            (out / row["file"]).write_bytes(encode_png(picture))
            rows.append(row)
    table = pd.DataFrame(rows, columns=list(INDEX))
    return table.assign(truth=label_cells(table["truth"]))


def _file_name(number: int, shown: str) -> str:
    """Return a name that every file system takes, which the number makes unlike any other; images may be paths."""
    return f"{number:05d}_{re.sub(r'[^A-Za-z0-9-]+', '_', shown)[:NAME_LENGTH]}.png"


def _overlays(
    bundle: Bundle, test: Dataset, index: int, boxes: pd.DataFrame, params: GradcamParams
) -> Iterator[tuple[dict[str, Any], Pixels]]:
    """Draw the overlays of one study, the hottest first; yields a row of the index and the picture."""
    study = test.studies.iloc[index]
    pixels = np.asarray(test.pixels(index))
    card = bundle.card
    probabilities, maps = bundle.predict(pixels[None, ..., None])
    positive = np.flatnonzero(decide(probabilities, bundle.thresholds, card.status)[0])
    positive = positive[np.argsort(-maps[0][..., positive].max(axis=(0, 1)), kind="stable")]
    # One scale for all findings of an image, so that their colours can be compared.
    full_scale = full_scale_of(maps[0][..., positive])
    large = fit(pixels, params.size)
    known = boxes[(boxes["batch"] == study["batch"]) & (boxes["image"] == study["image"])]
    for place in positive:
        finding = card.findings[place]
        row = {
            "batch": study["batch"],
            "image": study["image"],
            "finding": finding,
            "probability": float(probabilities[0, place]),
            "threshold": float(bundle.thresholds[place]),
            "truth": int(study[finding]),
        }
        mine = known.loc[known["finding"] == finding, ["x", "y", "w", "h"]].to_numpy()
        row |= _peak(maps[0, ..., place], card, mine)
        heat = spread_heat(maps[0, ..., place], large.shape, card.covered)
        lines = [*_caption(row, card.titles[place], card.synthetic), say_scale(full_scale)]
        picture = overlay(large, heat, full_scale, params.opacity)
        yield row, captioned(picture, lines, (mine * params.size / card.size).tolist())


def _peak(values: npt.NDArray[np.float32], card: Card, boxes: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Find the centre of the hottest cell, and whether it is in a true box (Zhang et al., ECCV 2016, "pointing game").

    Returns:
        It is in pixels of the prepared image.
    """
    cells = np.unravel_index(int(values.argmax()), values.shape)
    inset = (card.size - card.input_size) / 2
    y, x = (int(inset + (cell + 0.5) * card.input_size / n) for cell, n in zip(cells, values.shape, strict=True))
    inside = [int(left <= x < left + width and top <= y < top + height) for left, top, width, height in boxes]
    return {"peak_x": x, "peak_y": y, "peak_in_box": max(inside) if inside else None}


def _caption(row: dict[str, Any], title: str, synthetic: bool) -> list[str]:
    kind = "synthetic, " if synthetic else ""
    box = "; box: true extent" if row["peak_in_box"] is not None else ""
    return [
        f"{title}  p = {row['probability']:.2f} (threshold {row['threshold']:.2f})",
        f"truth: {TRUTH_SAID[row['truth']]}{box}",
        f"{kind}{row['image']}",
    ]
