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
    """Draw the losses and the validation mean AUROC by epoch, the epoch that was kept marked.

    Args:
        curves: `epoch, loss, validation_loss, validation_mean_auroc, kept`, a row an epoch.
        note: what was trained on what; says "synthetic" when it was.

    Raises:
        ValueError: missing columns, or no epochs.
    """
    check_columns(curves, {"epoch", "loss", "validation_loss", "validation_mean_auroc", "kept"}, "a training figure")
    figure = new_figure(6, "Training", note)
    losses, area = figure.subplots(1, 2)
    losses.plot(curves["epoch"], curves["loss"], color=ORANGE, marker="o", label="training")
    losses.plot(curves["epoch"], curves["validation_loss"], color=BLUE, marker="s", label="validation")
    area.plot(curves["epoch"], curves["validation_mean_auroc"], color=BLUE, marker="s", label="validation")
    kept = curves.iloc[int(curves["kept"].to_numpy().argmax())]
    said = f"kept: {kept['validation_mean_auroc']:.3f}, " + (
        f"epoch {kept['epoch']:.0f}" if kept["epoch"] else "the head"
    )
    area.axvline(kept["epoch"], color=GREY, linestyle="--", label=said)
    for axes, name in ((losses, "loss"), (area, "mean AUROC")):
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(fontsize=11)
    return figure
