"""Draw decision curves: what a model's decisions are worth, beside acting on every image and on none."""

import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, GREY, ORANGE, Panels, panel_grid, said_of, say


def decision_curves_figure(curves: pd.DataFrame, panels: Panels, note: str) -> Figure:
    """Draw the decision curve of each learned finding, with its interval.

    Args:
        curves: as `decision_curves` gives.
        panels: of all findings.
        note: what the images are; says "synthetic" when they are.
    """
    title = "Decision curves: net benefit an image, by the probability from which one acts"
    figure, grid, key = panel_grid(panels, title, note, 6)
    for finding, axes in grid.items():
        points = curves[curves["finding"] == finding]
        if points.empty:
            status = panels[finding].status
            say(axes, "only one class on test" if status == "learned" else said_of(status, "no decisions"))
            axes.set(xticks=(), yticks=())
            continue
        x = points["threshold"]
        ends = points["net_benefit_ci_low"], points["net_benefit_ci_high"]
        axes.fill_between(x, *ends, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(x, points["net_benefit"], color=BLUE, linewidth=1.4)
        axes.plot(x, points["treat_all"], color=ORANGE, linewidth=1.2, linestyle="--")
        axes.axhline(0, color=GREY, linewidth=1)
        top = max(float(points["net_benefit_ci_high"].fillna(points["net_benefit"]).max()), 0.01)
        axes.set(xlim=(0, 0.5), ylim=(-0.35 * top, 1.1 * top), xlabel="probability from which one acts")
        axes.set_ylabel("net benefit")
        axes.grid(color="#dddddd", linewidth=0.6)
    key.plot([], [], color=BLUE, linewidth=1.4, label="the model, 95 % interval")
    key.plot([], [], color=ORANGE, linewidth=1.2, linestyle="--", label="acting on every image")
    key.plot([], [], color=GREY, linewidth=1, label="acting on none")
    key.legend(loc="center", fontsize=12, frameon=False)
    return figure
