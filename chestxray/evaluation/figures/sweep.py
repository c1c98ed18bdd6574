"""Draw a sweep: what each candidate was trained with, and how well it ranks."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, GREY, ORANGE, check_columns, new_figure

SCORE = "validation_mean_auroc"
NO_AXIS = {"kind", "gain", "best"}
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
"""Numbers, so that lines don't cross them."""


def sweep_figure(table: pd.DataFrame, baseline: float, note: str) -> Figure:
    """Draw parallel coordinates for each kind of candidate: a line each, an axis for each param and for the score.

    Args:
        table: a row a candidate: `kind`, params (NaN where another kind has them), `epoch`, `validation_mean_auroc`,
            and `best`, 1 of one candidate and 0 of the others.
        baseline: the score that candidates are held against.
        note: what was scored on what; says "synthetic" when it was.

    Raises:
        ValueError: missing columns, or no candidate.
    """
    check_columns(table, {"kind", "epoch", SCORE, "best"}, "a sweep figure")
    kinds = table["kind"].unique()
    figure = new_figure(7, "Sweep: what candidates were trained with, and how well they rank", note)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    low, high = min(table[SCORE].min(), baseline), max(table[SCORE].max(), baseline)
    for axes, kind in zip(panels, kinds, strict=True):
        part = table[table["kind"] == kind].dropna(axis=1)
        if not part["epoch"].any():
            part = part.drop(columns="epoch")
        axes.set_title(f"{kind} ({len(part)})", fontsize=13, fontweight="bold")
        _draw(axes, part, (low, baseline, high))
    panels[-1].plot([], [], color=ORANGE, linewidth=3, label="best")
    panels[-1].plot([], [], color=GREY, linewidth=4, label=f"the model of dvc repro, {baseline:.3f}")
    figure.legend(loc="outside lower center", ncols=2, fontsize=12, frameon=False)
    return figure


def _draw(axes: Axes, part: pd.DataFrame, scores: tuple[float, float, float]) -> None:
    """Draw one kind: values of a param evenly, in their order, and scores to scale, from the least to the most."""
    low, baseline, high = scores
    names = [str(name) for name in part.columns if name not in NO_AXIS]
    lines = np.zeros((len(part), len(names)))
    for place, name in enumerate(names):
        axes.axvline(place, color="#bbbbbb", linewidth=1, zorder=0)
        values = part[name].to_numpy(float)
        if name == SCORE:
            lines[:, place], ticks = _heights(values, low, high), np.array([low, high])
            axes.hlines(_heights(np.array([baseline]), low, high), place - 0.05, place + 0.05, color=GREY, linewidth=4)
        else:
            ticks, ranks = np.unique(values, return_inverse=True)
            lines[:, place] = _heights(ranks, 0, len(ticks) - 1)
        heights = np.linspace(0, 1, len(ticks)) if len(ticks) > 1 else [0.5]
        for tick, height in zip(ticks, heights, strict=True):
            said = f"{tick:.3f}" if name == SCORE else f"{tick:g}"
            axes.text(place - 0.03, height, said, fontsize=10, ha="right", va="center", bbox=BEHIND, zorder=4)
    for line, best in zip(lines, part["best"], strict=True):
        style = {"color": ORANGE, "linewidth": 3} if best else {"color": BLUE, "alpha": 0.1 + 0.6 * line[-1] ** 2}
        axes.plot(line, zorder=2 + best, **style)
    axes.set(xlim=(-0.4, len(names) - 0.85), ylim=(-0.04, 1.04), yticks=())
    params = [name.replace("_", " ").replace(".", "\n") for name in names[:-1]]
    axes.set_xticks(range(len(names)), [*params, "validation\nmean AUROC"])
    axes.spines[:].set_visible(False)


def _heights(values: npt.NDArray[np.generic], low: float, high: float) -> npt.NDArray[np.float64]:
    """Return where values lie between two ends, from 0 to 1; the middle if these are the same."""
    return (values.astype(float) - low) / (high - low) if high > low else np.full(len(values), 0.5)
