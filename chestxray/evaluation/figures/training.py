"""Draw how training went."""

import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, GREY, ORANGE, check_columns, new_figure, say


def head_figure(folds: pd.DataFrame, curve: pd.DataFrame, note: str) -> Figure:
    """Draw how the L2 of the head was chosen, and its loss by iteration; nothing where a warm start brought the head.

    Args:
        folds: `l2, mean_auroc`, a row a candidate.
        curve: `iteration, loss`.
        note: what was trained on what; says "synthetic" when it was.
    """
    figure = new_figure(6, "Training of the head", note)
    choice, losses = figure.subplots(1, 2)
    for axes, table, x, y in ((choice, folds, "l2", "mean_auroc"), (losses, curve, "iteration", "loss")):
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set(xlabel=x, ylabel=y.replace("_auroc", " AUROC"))
        if table.empty:
            say(axes, "not fitted: a warm start brought the head")
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
    check_columns(curves, {"epoch", "loss", "validation_loss", "validation_mean_auroc"}, "a training figure")
    figure = new_figure(6, "Training", note)
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
