"""Draw the figures of an evaluation and of a training, 1600 pixels wide, the same bytes for the same numbers.

Every figure takes a `note` for its title: what the images are ("synthetic phantoms, test side"), and which thresholds.
Those with a panel for each finding take the `panels`, any number of them: what each is called, and its status.
Figures are made as objects, without pyplot: nothing global, no display, safe in any thread.
"""

import itertools
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.bundle import Card
from chestxray.inference.headlines import headline
from chestxray.inference.status import NUMBERS, Status, has_decision
from chestxray.labels import LabelMasks, check_scores, has_both_classes
from chestxray.metrics.calibration_error import calibration_error, reliability
from chestxray.metrics.table import COMPARED, HEADLINES
from chestxray.system.files import atomic_write

DOTS_PER_INCH = 100
WIDTH = 16.0
COLUMNS = 5
"""Panels side by side, at most."""
ROW_HEIGHT = 3.2
"""Of panels, in inches."""
TITLE_LETTERS = 26
TITLE_LINES = 3
"""What fits above a panel of the narrowest kind."""
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREY = "#777777"
"""Told apart by colour-blind readers too (Wong, Nature Methods 8, 2011)."""
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"


def _figure(height: float, title: str, note: str) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(f"{title}\n{note}. {RESEARCH_USE_ONLY}", fontsize=15, parse_math=False)
    return figure


class Panel(NamedTuple):
    """What stands over the panel of a finding, and what may be shown in it."""

    title: str
    status: Status


Panels = Mapping[str, Panel]
"""By finding, in the order of the model."""


def panels_of(card: Card) -> dict[str, Panel]:
    """Return the panels of a bundle's findings."""
    columns = zip(card.findings, card.titles, card.status, strict=True)
    return {name: Panel(title, status) for name, title, status in columns}


def _grid(panels: Panels, title: str, note: str, title_pad: float = 20) -> tuple[Figure, dict[str, Axes], Axes]:
    """Make a figure with a named panel for each finding, and the cell after them, for the key."""
    cells = len(panels) + 1
    rows = -(-cells // COLUMNS)
    columns = -(-cells // rows)
    figure = _figure(1 + ROW_HEIGHT * rows, title, note)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in axes[len(panels) :]:
        cell.set_axis_off()
    for cell, panel in zip(axes, panels.values(), strict=False):
        said = textwrap.fill(panel.title, TITLE_LETTERS, max_lines=TITLE_LINES, placeholder=" …")
        cell.set_title(said, fontsize=12, fontweight="bold", pad=title_pad, parse_math=False)
    return figure, dict(zip(panels, axes, strict=False)), axes[len(panels)]


def _say(axes: Axes, text: str) -> None:
    """Write in the middle of a panel why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def _said_of(status: Status, lacks: str = "") -> str:
    """Say in a panel what a finding that is not learned, or not well enough, has instead of what it `lacks`."""
    if status not in NUMBERS:
        return status
    return f"{status}: a {NUMBERS[status]}" + (f",\n{lacks}" if lacks else "")


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=x, ylabel=y)
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.grid(color="#dddddd", linewidth=0.6)


def _write_numbers(axes: Axes, text: str) -> None:
    """Write a panel's numbers under its name and clear of its curve."""
    axes.text(0.5, 1.02, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=11)


def _not_scored(axes: Axes, labelled: int) -> None:
    _say(axes, "not scored:\n" + ("only one class present" if labelled else "no image labels it"))


def _check_columns(frame: pd.DataFrame, columns: set[str], what: str) -> None:
    missing = sorted(columns - set(frame.columns))
    if missing or frame.empty:
        raise ValueError(
            f"{what} needs rows and the columns {sorted(columns)}; got {list(frame.columns)}, {len(frame)} rows"
        )


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
        confusion: `finding, tn, fp, fn, tp`, as `confusion.confusion_matrices` gives, of the findings that are learned.
        n: images; a row adds up to those of them that label its finding.
        panels: of all findings.
        note: what the images are and how thresholds were chosen; says "synthetic" when they are.

    Raises:
        ValueError: missing columns or findings, or counts that add up to more than n.
    """
    learned = list(itertools.compress(panels, has_decision([panel.status for panel in panels.values()])))
    if learned:
        _check_columns(confusion, {"finding", "tn", "fp", "fn", "tp"}, "a confusion figure")
    cells = confusion.set_index("finding")[["tn", "fp", "fn", "tp"]]
    labelled = cells.sum(axis=1)
    if sorted(cells.index) != sorted(learned) or (labelled > n).any():
        raise ValueError(
            f"confusion needs each of the {len(learned)} learned findings once, each adding up to at most {n}; "
            f"got\n{labelled}"
        )
    figure, grid, key = _grid(panels, f"Confusion matrices, n = {n:,} images", note, title_pad=6)
    for finding, axes in grid.items():
        if finding not in learned:
            _say(axes, _said_of(panels[finding].status, "no decisions"))
            axes.set(xticks=(), yticks=(), aspect="equal")
            continue
        _confusion_panel(axes, cells.loc[finding].to_numpy(dtype=np.int64).reshape(2, 2))
        if labelled[finding] < n:
            axes.set_xlabel(f"prediction ({labelled[finding]:,} images have a label)")
    scale = ScalarMappable(Normalize(0, 1), "cividis")
    bar = figure.colorbar(scale, cax=key.inset_axes((0.05, 0.5, 0.9, 0.08)), orientation="horizontal")
    bar.set_label("fraction of the row\n(of images with that truth)", fontsize=11)
    return figure


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
    _check_columns(roc, {"finding", "fpr", "tpr"}, "an ROC figure")
    title = f"ROC curves, n = {metrics['n']:,} images, {_headline(metrics, 'mean_auroc')}"
    figure, grid, key = _grid(panels, title, note)
    for finding, axes, curve in _curve_panels(roc, metrics, panels, grid, ("1 - specificity", "sensitivity")):
        axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
        axes.plot(curve["fpr"], curve["tpr"], color=BLUE, linewidth=2)
        bounds = [metrics[f"auroc_ci_{end}"].get(finding) for end in ("low", "high")]
        said = "too few patients" if None in bounds else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
        _write_numbers(axes, f"AUROC {metrics['auroc'][finding]:.3f} ({said})")
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
    _check_columns(precision_recall, {"finding", "recall", "precision"}, "a precision-recall figure")
    title = f"Precision-recall curves, n = {metrics['n']:,} images, {_headline(metrics, 'mean_average_precision')}"
    figure, grid, key = _grid(panels, title, note)
    for finding, axes, curve in _curve_panels(precision_recall, metrics, panels, grid, ("recall", "precision")):
        positives = metrics["positives"][finding]
        axes.axhline(positives / metrics["labelled"][finding], color=GREY, linestyle="--", linewidth=1)
        axes.step(curve["recall"], curve["precision"], where="pre", color=BLUE, linewidth=2)
        _write_numbers(axes, f"AP {metrics['average_precision'][finding]:.3f}, {positives:,} positives")
    _show_key(key, "prevalence (chance)")
    return figure


def _curve_panels(
    curves: pd.DataFrame, metrics: Mapping[str, Any], panels: Panels, grid: Mapping[str, Axes], names: tuple[str, str]
) -> Iterator[tuple[str, Axes, pd.DataFrame]]:
    """Prepare the panel of each finding, its axes under their names, and yield those that have a curve, with it."""
    by_finding = dict(iter(curves.groupby("finding")))
    for finding, axes in grid.items():
        _unit_square(axes, *names)
        status = panels[finding].status
        if status not in NUMBERS:
            _say(axes, _said_of(status))
        elif finding not in by_finding:
            _not_scored(axes, metrics["labelled"][finding])
        else:
            if NUMBERS[status] == "score":
                note = axes.text(0.98, 0.14, _said_of(status), ha="right", va="bottom", fontsize=10, color=ORANGE)
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


def reliability_figure(
    labels: LabelMasks, before: npt.ArrayLike, after: npt.ArrayLike, panels: Panels, note: str
) -> Figure:
    """Draw how often a learned finding was there against how probable it was called, before and after calibration.

    Args:
        labels: of n images and the k findings.
        before: `(n, k)` in 0..1, the plain sigmoid of the logits.
        after: `(n, k)` in 0..1, calibrated.
        panels: of the k findings.
        note: what the images are; says "synthetic" when they are.

    Raises:
        ValueError: wrong shapes or values.
    """
    calibrated = [NUMBERS.get(panel.status) == "probability" for panel in panels.values()]
    shown = labels.hide(list(itertools.compress(panels, np.logical_not(calibrated))))
    both = has_both_classes(shown)
    series = {"before calibration": (before, ORANGE, "o"), "calibrated": (after, BLUE, "s")}
    errors = [calibration_error(shown, scores) if both.any() else {} for scores, _, _ in series.values()]
    said = "no finding can be scored"
    if both.any():
        said = "mean calibration error {mean:.3f} before, ".format(**errors[0])
        said += "{mean:.3f} after calibration".format(**errors[1])
    figure, grid, key = _grid(panels, f"Reliability, n = {len(labels):,} images, {said}", note)
    for column, (finding, axes) in enumerate(grid.items()):
        _unit_square(axes, "mean probability", "fraction with the finding")
        rows, positive = labels.labelled_rows(column)
        if not calibrated[column]:
            _say(axes, _said_of(panels[finding].status, "no probability"))
            continue
        if not both[column]:
            _not_scored(axes, len(rows))
            continue
        _write_numbers(axes, "error {:.3f}, then {:.3f}".format(*(error[finding] for error in errors)))
        axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
        for name, (scores, colour, marker) in series.items():
            probability, seen = reliability(positive, check_scores(scores, name, labels.findings)[rows, column]).T
            axes.plot(probability, seen, color=colour, marker=marker, markersize=5, linewidth=1.2)
    for name, (_, colour, marker) in series.items():
        key.plot([], [], color=colour, marker=marker, label=name)
    key.plot([], [], color=GREY, linestyle="--", label="perfect calibration")
    key.legend(loc="center", fontsize=12, frameon=False, title="10 bins of equal mass")
    return figure


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
    _check_columns(by_finding, {"finding", *shown}, "a figure by finding")
    table = by_finding.set_index("finding").reindex(list(panels))
    figure = _figure(
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


def head_figure(folds: pd.DataFrame, curve: pd.DataFrame, note: str) -> Figure:
    """Draw how the L2 of the head was chosen, and its loss by iteration; nothing where a warm start brought the head.

    Args:
        folds: `l2, mean_auroc`, a row a candidate.
        curve: `iteration, loss`.
        note: what was trained on what; says "synthetic" when it was.
    """
    figure = _figure(6, "Training of the head", note)
    choice, losses = figure.subplots(1, 2)
    for axes, table, x, y in ((choice, folds, "l2", "mean_auroc"), (losses, curve, "iteration", "loss")):
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set(xlabel=x, ylabel=y.replace("_auroc", " AUROC"))
        if table.empty:
            _say(axes, "not fitted: a warm start brought the head")
            continue
        axes.plot(table[x], table[y], color=BLUE, marker="o" if axes is choice else None)
    if not folds.empty:
        choice.set(xscale="log", xticks=folds["l2"], xticklabels=[f"{l2:g}" for l2 in folds["l2"]])
        choice.minorticks_off()
        choice.set(xlabel="L2", ylabel="mean AUROC over patient-grouped folds")
    return figure


def training_curves_figure(curves: pd.DataFrame, note: str) -> Figure:
    """Draw the losses and the validation mean AUROC by epoch, the best epoch marked.

    Args:
        curves: `epoch, loss, validation_loss, validation_mean_auroc`, a row an epoch.
        note: what was trained on what; says "synthetic" when it was.

    Raises:
        ValueError: missing columns, or no epochs.
    """
    _check_columns(curves, {"epoch", "loss", "validation_loss", "validation_mean_auroc"}, "a training figure")
    figure = _figure(6, "Training", note)
    losses, area = figure.subplots(1, 2)
    losses.plot(curves["epoch"], curves["loss"], color=ORANGE, marker="o", label="training")
    losses.plot(curves["epoch"], curves["validation_loss"], color=BLUE, marker="s", label="validation")
    area.plot(curves["epoch"], curves["validation_mean_auroc"], color=BLUE, marker="s", label="validation")
    best = curves.iloc[int(curves["validation_mean_auroc"].to_numpy().argmax())]
    said = f"best: {best['validation_mean_auroc']:.3f}, epoch {best['epoch']:.0f}"
    area.axvline(best["epoch"], color=GREY, linestyle="--", label=said)
    for axes, name in ((losses, "loss"), (area, "mean AUROC")):
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(fontsize=11)
    return figure


def input_gate_figure(table: pd.DataFrame, note: str) -> Figure:
    """Draw which share of each kind of images the input gate refuses, with 95 % intervals and the number of images.

    Args:
        table: as `input_gate.gate_table` gives it.
        note: for the title.

    Raises:
        ValueError: missing columns, or no rows.
    """
    _check_columns(table, {"kind", "n", "refused", "share", "low", "high"}, "a figure of the input gate")
    figure = _figure(2.2 + 0.5 * len(table), "What reaches a threshold of the input gate", note)
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


def history_figure(history: pd.DataFrame, note: str) -> Figure:
    """Draw the mean AUROC of every registered version on every batch's test images, with its 95 % interval.

    A filled marker: the version was trained on that batch. A vertical line: the champion. Without an interval, since no
    finding has enough patients there, it is the mean of all findings.

    Args:
        history: as `history.version_history` gives it.
        note: for the title.
    """
    figure = _figure(7.0, "Registered versions on every batch's test images", note)
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


def save(figure: Figure, path: Path) -> None:
    """Write a PNG in one piece (temporary name, then rename), without dates or versions in it.

    Args:
        figure: of any size.
        path: ends in `.png`; its folder is made.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix != ".png":
        raise ValueError(f"figures are saved as .png (the only format with stable bytes), got {path.name}")
    FigureCanvasAgg(figure)  # becomes the figure's canvas
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=figure.dpi, metadata={"Software": None})
