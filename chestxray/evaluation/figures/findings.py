"""Draw the metrics of findings side by side."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, GREY, TITLE_LETTERS, Panels, check_columns, new_figure
from chestxray.metrics.table import COMPARED


def findings_figure(by_finding: pd.DataFrame, panels: Panels, note: str) -> Figure:
    """Draw AUROC, average precision and F1 of each finding side by side, with their 95 % intervals.

    Args:
        by_finding: `finding, auroc, average_precision, f1` and their ends, as `metrics_tables.metrics_by_finding` gives
            of one part; empty where not measured.
        panels: of all findings.
        note: what the images are; says "synthetic" when they are.

    Raises:
        ValueError: missing columns.
    """
    shown = {metric.name: metric.title for metric in COMPARED if metric.reported}
    check_columns(by_finding, {"finding", *shown}, "a figure by finding")
    table = by_finding.set_index("finding").reindex(list(panels))
    figure = new_figure(
        1.8 + 0.36 * len(table), "Test metrics by finding, with 95 % intervals (none: too few patients)", note
    )
    places = np.arange(len(table))
    columns = figure.subplots(1, len(shown), sharey=True)
    for axes, (name, title) in zip(columns, shown.items(), strict=True):
        value = table[name].to_numpy(dtype=float)
        ends = [table.get(f"{name}_ci_{end}", table[name] * np.nan).to_numpy(dtype=float) for end in ("low", "high")]
        errors = np.nan_to_num([np.maximum(value - ends[0], 0), np.maximum(ends[1] - value, 0)])
        axes.errorbar(value, places, xerr=errors, fmt="o", markersize=7, capsize=4, color=BLUE)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(table) - 0.5, -0.5), title=title)
        axes.grid(color="#dddddd", linewidth=0.6)
        for place in places[np.isnan(value)]:
            axes.text(0.5, place, "not measured", ha="center", va="center", color=GREY)
    said = [textwrap.shorten(panel.title, TITLE_LETTERS, placeholder=" …") for panel in panels.values()]
    columns[0].set_yticks(places, said, fontsize=12, parse_math=False)
    return figure
