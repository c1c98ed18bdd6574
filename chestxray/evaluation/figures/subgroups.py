"""Draw how the model does in groups of the test images, attribute by attribute."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import GREY, MARKERS, PALETTE, Panels, new_figure, say
from chestxray.evaluation.subgroups import by_attribute
from chestxray.inference.subgroup import ANY

SHOWN_GROUPS = len(PALETTE)
"""Of an attribute in the figure: the largest; the table has all."""
DIFFERS = 0.05
"""P-value below which a group is marked."""


def subgroups_figure(table: pd.DataFrame, min_patients: int, panels: Panels, note: str) -> Figure:
    """Draw the AUROC of each finding, and how often none of an image's findings is detected, by group.

    Args:
        table: as `subgroup_table` gives.
        min_patients: below which there is no figure, which is said.
        panels: of all findings, for their titles.
        note: what the images are; says "synthetic" when they are.
    """
    findings = [name for name in panels if name in set(table["finding"])]
    rows = max(len(findings), 3)
    title = f"Groups: AUROC, and images with findings of which none is detected; from {min_patients} patients on"
    figure = new_figure(4.5 + 0.42 * rows, title, note)
    ratios = {"height_ratios": [0.42 * rows, 1.4]}
    attributes = by_attribute(table)
    lowest = np.nanmin([0.3, table["auroc"].min() - 0.02, table["auroc_ci_low"].min() - 0.02])
    grid = figure.subplots(2, len(attributes), sharey="row", squeeze=False, gridspec_kw=ratios)
    for column, (attribute, part) in enumerate(attributes.items()):
        shown = _largest(part)
        _draw(grid[0, column], part, shown, "auroc", findings)
        _draw(grid[1, column], part, shown, "underdiagnosis", [ANY])
        hidden = part["group"].nunique() - len(shown)
        more = f" (largest of {len(shown) + hidden})" if hidden else ""
        grid[0, column].set_title(f"{attribute}{more}", fontweight="bold", pad=8)
        grid[0, column].set(xlabel="AUROC", xlim=(lowest, 1.02))
        grid[1, column].set(xlabel="share with none detected", xlim=(-0.02, 1.02))
        grid[0, column].axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        handles = grid[1, column].get_legend_handles_labels()
        grid[1, column].legend(*handles, loc="upper center", bbox_to_anchor=(0.5, -0.45), ncols=2, frameon=False)
    grid[0, 0].set_yticks(np.arange(len(findings)), [panels[name].title for name in findings], parse_math=False)
    grid[1, 0].set_yticks([0], ["any finding"])
    grid[0, 0].set_ylim(len(findings) - 0.5, -0.5)
    grid[1, 0].set_ylim(0.6, -0.6)
    figure.supxlabel(_key(table), fontsize=11, color=GREY)
    return figure


def _key(table: pd.DataFrame) -> str:
    found = int((table[["auroc_p", "underdiagnosis_p"]] < DIFFERS).to_numpy().sum())
    tests = int(table[["auroc_p", "underdiagnosis_p"]].notna().to_numpy().sum())
    return (
        f"black ring: differs from the other groups, p < {DIFFERS} by Holm over the groups of a finding and attribute "
        f"({found} of {tests} here; not corrected over findings and attributes)"
    )


def _largest(part: pd.DataFrame) -> list[str]:
    """Return the groups to draw, in the order of the table."""
    sizes = part[part["finding"] == ANY].set_index("group")["patients"]
    kept = set(sizes.sort_values(ascending=False, kind="stable").index[:SHOWN_GROUPS])
    return [group for group in sizes.index if group in kept]


def _draw(axes: Axes, part: pd.DataFrame, groups: list[str], measure: str, findings: list[str]) -> None:
    """Draw a measure of an attribute's groups, a row a finding."""
    for place, group in enumerate(groups):
        rows = part[part["group"] == group].set_index("finding").reindex(findings)
        heights = np.arange(len(findings)) + 0.8 * (place - (len(groups) - 1) / 2) / max(len(groups), 2)
        value, low, high = (rows[measure + end].to_numpy(float) for end in ("", "_ci_low", "_ci_high"))
        errors = np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])
        drawn = axes.errorbar(value, heights, xerr=errors, linestyle="", color=PALETTE[place], capsize=2, linewidth=1)
        drawn.lines[0].set(marker=MARKERS[place], markersize=5)
        drawn.set_label(group)
        differs = rows[measure + "_p"].to_numpy(float) < DIFFERS
        axes.plot(value[differs], heights[differs], "o", color="none", markeredgecolor="black", markersize=11)
    if part[part["finding"].isin(findings)][measure].isna().all():
        say(axes, "too few patients")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
