"""Draw how registered versions did."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import GREY, MARKERS, PALETTE, new_figure


def history_figure(history: pd.DataFrame, note: str) -> Figure:
    """Draw the mean AUROC of every registered version on every batch's test images, with its 95 % interval.

    A filled marker: the version was trained on that batch. A vertical line: the champion. Without an interval, since no
    finding has enough patients there, it is the mean of all findings.

    Args:
        history: as `history.version_history` gives it.
        note: for the title.
    """
    figure = new_figure(7.0, "Registered versions on every batch's test images", note)
    axes = figure.subplots()
    versions = sorted(history["version"].unique())
    axes.set(xticks=versions, xlabel="version", ylabel="mean AUROC", xlim=(versions[0] - 0.5, versions[-1] + 0.5))
    axes.grid(color="#dddddd", linewidth=0.6)
    for place, (batch, rows) in enumerate(history.groupby("batch", sort=False)):
        style: dict[str, Any] = {
            "color": PALETTE[place % len(PALETTE)],
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 10,
        }
        mean = rows["mean_auroc"].fillna(rows["mean_auroc_of_all"])
        axes.plot(rows["version"], mean, **style, fillstyle="none", label=f"{batch} (n {rows['n'].iloc[0]})")
        seen = rows["trained_on"] == 1
        axes.plot(rows.loc[seen, "version"], mean[seen], **style, linestyle="none")
        ends = [rows["mean_auroc"] - rows["mean_auroc_ci_low"], rows["mean_auroc_ci_high"] - rows["mean_auroc"]]
        axes.errorbar(rows["version"], mean, yerr=np.nan_to_num(ends), fmt="none", color=style["color"], capsize=4)
    for version in history.loc[history["champion_before"] == 1, "version"].unique():
        axes.axvline(version, color=GREY, linestyle=":", label=f"champion before this run: version {version}")
    axes.legend(title="batch; filled: trained on it\nbars: 95 % intervals; none: too few patients", fontsize=11)
    return figure
