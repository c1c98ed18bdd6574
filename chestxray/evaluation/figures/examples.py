"""Show examples of what the model found, wrongly detected and missed, with the heat that speaks for each."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chestxray.evaluation.figures.style import COLUMNS, TITLE_LETTERS, new_figure, say

CELL_HEIGHT = 3.75
"""Of a picture with its title, in inches."""
TITLE = "Grad-CAM of test images drawn at random, each of another patient; box: true extent, where it is known"
BOX = "#00ffff"


class ExamplePicture(NamedTuple):
    """A picture of the figure.

    Attributes:
        title: of the finding.
        said: its number and its threshold.
        scale: what the brightest colour stands for.
        name: of the image.
        pixels: uint8 H × W × 3, the radiograph with heat.
        boxes: true extents, x, y, width and height in pixels, where they are known.
    """

    title: str
    said: str
    scale: str
    name: str
    pixels: npt.NDArray[np.uint8]
    boxes: Sequence[Sequence[float]]


def examples_figure(pictures: Mapping[str, Sequence[ExamplePicture]], note: str) -> Figure:
    """Draw a row of pictures for each outcome.

    Args:
        pictures: by what to call the outcome, at most `COLUMNS` of each.
        note: what the images are; says "synthetic" when they are.
    """
    figure = new_figure(1.1 + CELL_HEIGHT * len(pictures), TITLE, note)
    grid = figure.subplots(len(pictures), COLUMNS, squeeze=False)
    for (outcome, shown), row in zip(pictures.items(), grid, strict=True):
        for axes, picture in zip(row, shown, strict=False):
            _draw(axes, picture)
        for axes in row[len(shown) :]:
            axes.set_axis_off()
        if not shown:
            say(row[0], "none")
        row[0].text(
            -0.06, 0.5, outcome, transform=row[0].transAxes, rotation=90, ha="center", va="center", fontsize=13
        ).set_fontweight("bold")
    return figure


def _draw(axes: Axes, picture: ExamplePicture) -> None:
    axes.imshow(picture.pixels)
    for x, y, width, height in picture.boxes:
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=BOX, linewidth=1.5))
    title = textwrap.shorten(picture.title, TITLE_LETTERS, placeholder=" …")
    axes.set_title(title, fontsize=12, fontweight="bold", pad=20, parse_math=False)
    axes.text(0.5, 1.02, picture.said, transform=axes.transAxes, ha="center", va="bottom", fontsize=11)
    name = textwrap.shorten(picture.name, 2 * TITLE_LETTERS, placeholder=" …")
    axes.set_xlabel(f"{name}\n{picture.scale}", fontsize=9, parse_math=False)
    axes.set(xticks=(), yticks=())
