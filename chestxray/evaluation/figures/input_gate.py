"""Draw what the input gate refuses."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, ORANGE, check_columns, new_figure


def input_gate_figure(table: pd.DataFrame, note: str) -> Figure:
    """Draw which share of each kind of images the input gate refuses, with 95 % intervals and the number of images.

    Args:
        table: as `input_gate.gate_table` gives it.
        note: for the title.

    Raises:
        ValueError: missing columns, or no rows.
    """
    check_columns(table, {"kind", "n", "refused", "share", "low", "high"}, "a figure of the input gate")
    figure = new_figure(2.2 + 0.5 * len(table), "What reaches a threshold of the input gate", note)
    axes = figure.subplots()
    places = np.arange(len(table))
    good = table["kind"].str.startswith(("good", "altered")).to_numpy()
    for rows, colour, said in ((good, ORANGE, "good ones: few should"), (~good, BLUE, "others: all should")):
        share, low, high = (table.loc[rows, name].to_numpy() for name in ("share", "low", "high"))
        errors = np.maximum([share - low, high - share], 0)
        axes.errorbar(share, places[rows], xerr=errors, fmt="o", markersize=9, capsize=5, color=colour, label=said)
    for place, (count, images) in enumerate(zip(table["refused"], table["n"], strict=True)):
        axes.text(1.04, place, f"{count} of {images}", va="center", fontsize=12)
    axes.set(xlim=(-0.02, 1.14), ylim=(len(table) - 0.4, -0.6), xlabel="share that reaches one, with its 95 % interval")
    axes.set(xticks=np.linspace(0, 1, 6))
    axes.set_yticks(places, table["kind"], fontsize=12)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=12)
    return figure
