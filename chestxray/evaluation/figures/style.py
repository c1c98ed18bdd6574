"""Give all figures one style: size, title, colours and the grid of panels; and save them, the same bytes each time."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.card import Card
from chestxray.inference.status import NUMBERS, Status
from chestxray.system.files import atomic_write

DOTS_PER_INCH = 100
WIDTH = 16.0
COLUMNS = 5
"""Panels side by side, at most."""
ROW_HEIGHT = 3.2
"""Of panels, in inches."""
TITLE_LETTERS = 26
TITLE_LINES = 3
"""What fits above a panel of the narrowest kind."""
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREY = "#777777"
"""Told apart by colour-blind readers too (Wong, Nature Methods 8, 2011)."""
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"


def new_figure(height: float, title: str, note: str) -> Figure:
    """Make a figure, `height` inches high, under its title, what its images are, and what it is not for."""
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(f"{title}\n{note}. {RESEARCH_USE_ONLY}", fontsize=15, parse_math=False)
    return figure


class Panel(NamedTuple):
    """What stands over the panel of a finding, and what it may show: decisions, if it is learned and `decided`."""

    title: str
    status: Status
    decided: bool = True


Panels = Mapping[str, Panel]
"""By finding, in the order of the model."""


def panels_of(card: Card) -> dict[str, Panel]:
    """Return the panels of a bundle's findings."""
    columns = zip(card.findings, card.titles, card.status, np.isfinite(card.thresholds()).tolist(), strict=True)
    return {name: Panel(*of_finding) for name, *of_finding in columns}


def panel_grid(panels: Panels, title: str, note: str, title_pad: float = 20) -> tuple[Figure, dict[str, Axes], Axes]:
    """Make a figure with a named panel for each finding, and the cell after them, for the key."""
    cells = len(panels) + 1
    rows = -(-cells // COLUMNS)
    columns = -(-cells // rows)
    figure = new_figure(1 + ROW_HEIGHT * rows, title, note)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in axes[len(panels) :]:
        cell.set_axis_off()
    for cell, panel in zip(axes, panels.values(), strict=False):
        said = textwrap.fill(panel.title, TITLE_LETTERS, max_lines=TITLE_LINES, placeholder=" …")
        cell.set_title(said, fontsize=12, fontweight="bold", pad=title_pad, parse_math=False)
    return figure, dict(zip(panels, axes, strict=False)), axes[len(panels)]


def say(axes: Axes, text: str) -> None:
    """Write in the middle of a panel why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def said_of(status: Status, lacks: str = "") -> str:
    """Say in a panel what a finding that is not learned, or not well enough, has instead of what it `lacks`."""
    if status not in NUMBERS:
        return status
    return f"{status}: a {NUMBERS[status]}" + (f",\n{lacks}" if lacks else "")


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Name axes from 0 to 1, and give them a grid."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=x, ylabel=y)
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.grid(color="#dddddd", linewidth=0.6)


def write_numbers(axes: Axes, text: str) -> None:
    """Write a panel's numbers under its name and clear of its curve."""
    axes.text(0.5, 1.02, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=11)


def not_scored(axes: Axes, labelled: int) -> None:
    """Say in a panel why a finding was not scored, of which so many images have a label."""
    say(axes, "not scored:\n" + ("only one class present" if labelled else "no image labels it"))


def check_columns(frame: pd.DataFrame, columns: set[str], what: str) -> None:
    """Make sure that a table has rows and columns.

    Raises:
        ValueError: it has not; the message begins with what needs it.
    """
    missing = sorted(columns - set(frame.columns))
    if missing or frame.empty:
        raise ValueError(
            f"{what} needs rows and the columns {sorted(columns)}; got {list(frame.columns)}, {len(frame)} rows"
        )


def save(figure: Figure, path: Path) -> None:
    """Write a PNG in one piece (temporary name, then rename), without dates or versions in it.

    Args:
        figure: of any size.
        path: ends in `.png`; its folder is made.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix != ".png":
        raise ValueError(f"figures are saved as .png (the only format with stable bytes), got {path.name}")
    FigureCanvasAgg(figure)  # becomes the figure's canvas
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=figure.dpi, metadata={"Software": None})
