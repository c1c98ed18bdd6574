"""Draw how often what was called probable was there."""

import itertools

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    Panels,
    not_scored,
    panel_grid,
    said_of,
    say,
    unit_square,
    write_numbers,
)
from chestxray.inference.status import NUMBERS
from chestxray.labels import LabelMasks, check_scores, has_both_classes
from chestxray.metrics.calibration_error import calibration_error, reliability


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
    figure, grid, key = panel_grid(panels, f"Reliability, n = {len(labels):,} images, {said}", note)
    for column, (finding, axes) in enumerate(grid.items()):
        unit_square(axes, "mean probability", "fraction with the finding")
        rows, positive = labels.labelled_rows(column)
        if not calibrated[column]:
            say(axes, said_of(panels[finding].status, "no probability"))
            continue
        if not both[column]:
            not_scored(axes, len(rows))
            continue
        write_numbers(axes, "error {:.3f}, then {:.3f}".format(*(error[finding] for error in errors)))
        axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
        for name, (scores, colour, marker) in series.items():
            probability, seen = reliability(positive, check_scores(scores, name, labels.findings)[rows, column]).T
            axes.plot(probability, seen, color=colour, marker=marker, markersize=5, linewidth=1.2)
    for name, (_, colour, marker) in series.items():
        key.plot([], [], color=colour, marker=marker, label=name)
    key.plot([], [], color=GREY, linestyle="--", label="perfect calibration")
    key.legend(loc="center", fontsize=12, frameon=False, title="10 bins of equal mass")
    return figure
