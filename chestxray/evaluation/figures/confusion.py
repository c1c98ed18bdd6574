"""Draw right and wrong decisions."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import (
    Panels,
    check_columns,
    panel_grid,
    said_of,
    say,
)
from chestxray.inference.status import has_decision


def _confusion_panel(axes: Axes, counts: npt.NDArray[np.int64]) -> None:
    """Draw one 2x2 table, rows the truth: `counts` is `[[tn, fp], [fn, tp]]`, colours are fractions of a row."""
    images = counts.sum(axis=1, keepdims=True)
    share = np.where(images > 0, counts / np.maximum(images, 1), np.nan)
    axes.set_facecolor("#eeeeee")  # shows where a row has no images, thus no fractions
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        part = share[row, column]
        said = f"{counts[row, column]:,}\n" + ("no images" if np.isnan(part) else f"{part:.1%}")
        colour = "white" if part < 0.45 else "black"
        axes.text(column, row, said, ha="center", va="center", fontsize=13, color=colour)
    axes.set_xticks((0, 1), ("absent", "present"))
    axes.set_yticks((0, 1), ("absent", "present"), rotation=90, va="center")
    axes.set(xlabel="prediction", ylabel="truth")
    axes.tick_params(length=0)


def confusion_matrix_figure(confusion: pd.DataFrame, n: int, panels: Panels, note: str) -> Figure:
    """Draw a captioned 2x2 table for each finding: counts and percentages of each row (of the images with that truth).

    Args:
        confusion: `finding, tn, fp, fn, tp`, as `confusion.confusion_matrices` gives, of the findings with decisions.
        n: images; a row adds up to those of them that label its finding.
        panels: of all findings.
        note: what the images are and how thresholds were chosen; says "synthetic" when they are.

    Raises:
        ValueError: missing columns or findings, or counts that add up to more than n.
    """
    learned = [name for name, panel in panels.items() if panel.decided and has_decision([panel.status])[0]]
    if learned:
        check_columns(confusion, {"finding", "tn", "fp", "fn", "tp"}, "a confusion figure")
    cells = confusion.set_index("finding")[["tn", "fp", "fn", "tp"]]
    labelled = cells.sum(axis=1)
    if sorted(cells.index) != sorted(learned) or (labelled > n).any():
        raise ValueError(
            f"confusion needs each of the {len(learned)} findings with decisions once, each adding up to at most {n}; "
            f"got\n{labelled}"
        )
    figure, grid, key = panel_grid(panels, f"Confusion matrices, n = {n:,} images", note, title_pad=6)
    for finding, axes in grid.items():
        if finding not in learned:
            status = panels[finding].status
            say(axes, "no threshold can be given" if status == "learned" else said_of(status, "no decisions"))
            axes.set(xticks=(), yticks=(), aspect="equal")
            continue
        _confusion_panel(axes, cells.loc[finding].to_numpy(dtype=np.int64).reshape(2, 2))
        if labelled[finding] < n:
            axes.set_xlabel(f"prediction ({labelled[finding]:,} images have a label)")
    scale = ScalarMappable(Normalize(0, 1), "cividis")
    bar = figure.colorbar(scale, cax=key.inset_axes((0.05, 0.5, 0.9, 0.08)), orientation="horizontal")
    bar.set_label("fraction of the row\n(of images with that truth)", fontsize=11)
    return figure
