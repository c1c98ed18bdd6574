"""Draw how well heatmaps find the true places, beside what needs no image."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import GREY, MARKERS, PALETTE, Panels, new_figure
from chestxray.evaluation.localization import ALL, METHODS

SHOWN = {
    "pixel_auroc": "pixel AUROC",
    "pointing_game": "hottest pixel in a box (share)",
    "iou_0.25": "IoU ≥ 0.25 (share)",
}


def localization_figure(table: pd.DataFrame, panels: Panels, note: str) -> Figure:
    """Draw three measures of each finding that has boxes, of the maps and of what they are compared with.

    Args:
        table: as `Localization.table` gives.
        panels: of all findings, for their titles.
        note: what the images are; says "synthetic" when they are.
    """
    findings = list(dict.fromkeys(table["finding"]))
    figure = new_figure(2 + 0.5 * max(len(findings), 2), "Where heatmaps point, on test images with boxes", note)
    if not findings:
        figure.text(0.5, 0.4, "no test image has boxes", ha="center", color=GREY, fontsize=14)
        return figure
    titles = {name: panel.title for name, panel in panels.items()} | {ALL: ALL}
    known = table[table["measure"] == "pixel_auroc"].set_index(["finding", "method"])["n"]
    labels = [f"{titles[finding]} ({known[finding, 'map']:,})" for finding in findings]
    for axes, (measure, title) in zip(figure.subplots(1, len(SHOWN), sharey=True), SHOWN.items(), strict=True):
        for place, method in enumerate(METHODS):
            rows = table[(table["measure"] == measure) & (table["method"] == method)].set_index("finding")
            rows = rows.reindex(findings)
            heights = np.arange(len(findings)) + 0.15 * (place - 1.5)
            value, low, high = (rows[name].to_numpy(float) for name in ("value", "ci_low", "ci_high"))
            errors = np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])
            style = {"color": PALETTE[place], "marker": MARKERS[place]}
            axes.errorbar(
                value, heights, xerr=errors, fmt="", linestyle="", markersize=6, capsize=2, label=method, **style
            )
        axes.set(xlim=(-0.02, 1.02), title=title)
        axes.set_yticks(np.arange(len(findings)), labels, parse_math=False)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(METHODS), fontsize=12)
    return figure
