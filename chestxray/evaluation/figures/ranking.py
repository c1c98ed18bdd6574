"""Draw how well findings are ranked: ROC and precision-recall curves."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    Panels,
    check_columns,
    not_scored,
    panel_grid,
    said_of,
    say,
    unit_square,
    write_numbers,
)
from chestxray.inference.headlines import headline
from chestxray.inference.status import NUMBERS
from chestxray.metrics.table import HEADLINES


def roc_figure(roc: pd.DataFrame, metrics: Mapping[str, Any], panels: Panels, note: str) -> Figure:
    """Draw the ROC curve of each finding, with its AUROC and 95 % interval.

    Args:
        roc: `finding, fpr, tpr`, as `ranking.curves` gives.
        metrics: what `report.evaluate` gave for the same images.
        panels: of all findings.
        note: what the images are; says "synthetic" when they are.

    Raises:
        ValueError: missing columns.
    """
    check_columns(roc, {"finding", "fpr", "tpr"}, "an ROC figure")
    title = f"ROC curves, n = {metrics['n']:,} images, {_headline(metrics, 'mean_auroc')}"
    figure, grid, key = panel_grid(panels, title, note)
    for finding, axes, curve in _curve_panels(roc, metrics, panels, grid, ("1 - specificity", "sensitivity")):
        axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
        axes.plot(curve["fpr"], curve["tpr"], color=BLUE, linewidth=2)
        bounds = [metrics[f"auroc_ci_{end}"].get(finding) for end in ("low", "high")]
        said = "too few patients" if None in bounds else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
        write_numbers(axes, f"AUROC {metrics['auroc'][finding]:.3f} ({said})")
        axes.text(0.98, 0.04, f"{metrics['positives'][finding]:,} positives", ha="right", va="bottom", fontsize=11)
    _show_key(key, "chance", "95 % intervals\nover patients")
    return figure


def precision_recall_figure(
    precision_recall: pd.DataFrame, metrics: Mapping[str, Any], panels: Panels, note: str
) -> Figure:
    """Draw the precision-recall curve of each finding, with its average precision and the prevalence (chance).

    Args:
        precision_recall: `finding, recall, precision`, as `ranking.curves` gives.
        metrics: what `report.evaluate` gave for the same images.
        panels: of all findings.
        note: what the images are; says "synthetic" when they are.

    Raises:
        ValueError: missing columns.
    """
    check_columns(precision_recall, {"finding", "recall", "precision"}, "a precision-recall figure")
    title = f"Precision-recall curves, n = {metrics['n']:,} images, {_headline(metrics, 'mean_average_precision')}"
    figure, grid, key = panel_grid(panels, title, note)
    for finding, axes, curve in _curve_panels(precision_recall, metrics, panels, grid, ("recall", "precision")):
        positives = metrics["positives"][finding]
        axes.axhline(positives / metrics["labelled"][finding], color=GREY, linestyle="--", linewidth=1)
        axes.step(curve["recall"], curve["precision"], where="pre", color=BLUE, linewidth=2)
        write_numbers(axes, f"AP {metrics['average_precision'][finding]:.3f}, {positives:,} positives")
    _show_key(key, "prevalence (chance)")
    return figure


def _curve_panels(
    curves: pd.DataFrame, metrics: Mapping[str, Any], panels: Panels, grid: Mapping[str, Axes], names: tuple[str, str]
) -> Iterator[tuple[str, Axes, pd.DataFrame]]:
    """Prepare the panel of each finding, its axes under their names, and yield those that have a curve, with it."""
    by_finding = dict(iter(curves.groupby("finding")))
    for finding, axes in grid.items():
        unit_square(axes, *names)
        status = panels[finding].status
        if status not in NUMBERS:
            say(axes, said_of(status))
        elif finding not in by_finding:
            not_scored(axes, metrics["labelled"][finding])
        else:
            if NUMBERS[status] == "score":
                note = axes.text(0.98, 0.14, said_of(status), ha="right", va="bottom", fontsize=10, color=ORANGE)
                note.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1})
            yield finding, axes, by_finding[finding]


def _headline(metrics: Mapping[str, Any], name: str) -> str:
    (title,) = (metric.title for metric in HEADLINES if metric.name == name)
    return str(headline(metrics, name, title))


def _show_key(key: Axes, chance: str, title: str | None = None) -> None:
    """Show what the lines of a figure of curves are."""
    key.plot([], [], color=BLUE, linewidth=2, label="model")
    key.plot([], [], color=GREY, linestyle="--", label=chance)
    key.legend(loc="center", fontsize=12, frameon=False, title=title)
