"""Draw what leaving uncertain images to a person gains: the more are left, the fewer of the others are wrong."""

import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, ORANGE, Panels, check_columns, panel_grid, said_of, say
from chestxray.inference.status import has_decision


def abstention_figure(curve: pd.DataFrame, error: float, panels: Panels, note: str) -> Figure:
    """Draw the risk-coverage curve of each learned finding.

    Args:
        curve: `finding, error, decided, wrong`, as `tested_points.risk_coverage` gives.
        error: of the bands that the model has, which are marked.
        panels: of all findings.
        note: what the images are; says "synthetic" when they are.

    Raises:
        ValueError: missing columns.
    """
    if not curve.empty:
        check_columns(curve, {"finding", "error", "decided", "wrong"}, "an abstention figure")
    figure, grid, key = panel_grid(
        panels, "Uncertain bands: what is decided on, and how much of that is wrong", note, 6
    )
    for finding, axes in grid.items():
        points = curve[curve["finding"] == finding].dropna()
        if points.empty:
            learned = has_decision([panels[finding].status])[0]
            say(axes, "too few validation patients" if learned else said_of(panels[finding].status, "no decisions"))
            axes.set(xticks=(), yticks=())
            continue
        axes.plot(points["decided"], points["wrong"], color=BLUE, marker="o", markersize=4, linewidth=1.2)
        chosen = points[points["error"] == error]
        axes.plot(chosen["decided"], chosen["wrong"], color=ORANGE, marker="D", markersize=8, linestyle="")
        axes.set(xlim=(-0.02, 1.02), ylim=(0, None), xlabel="share decided", ylabel="of these wrong")
        axes.grid(color="#dddddd", linewidth=0.6)
    key.plot([], [], color=BLUE, marker="o", markersize=4, label="bands of other errors")
    if not curve.empty and curve["error"].eq(error).any():
        own = f"the model's: {error:.0%} a class"
        key.plot([], [], color=ORANGE, marker="D", markersize=8, linestyle="", label=own)
    key.legend(loc="center", fontsize=12, frameon=False)
    return figure
