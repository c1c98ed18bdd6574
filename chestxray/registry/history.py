"""Tabulate every registered version on every batch's test images; computed anew each time, never appended to."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.labels import LabelMasks, counted_once, has_both_classes, label_masks
from chestxray.metrics.ranking import mean_over_findings
from chestxray.metrics.report import averaged_findings, estimates
from chestxray.metrics.table import METRICS, Predictions, Sample
from chestxray.registry.version_predictions import VersionPredictions

MEANS = tuple(metric for metric in METRICS if metric.name in ("mean_auroc", "macro_f1", "mean_auroc_of_all"))
VALUES = ("mean_auroc", "mean_auroc_ci_low", "mean_auroc_ci_high", "macro_f1", "macro_f1_ci_low", "macro_f1_ci_high")
COLUMNS = (
    *("version", "champion_before", "batch", "trained_on", "n", "patients"),
    *("findings_scored", "mean_auroc_of_all", "findings_averaged", *VALUES),
)
(AUROC,) = (metric for metric in METRICS if metric.name == "auroc")
Areas = dict[str, float]
"""AUROC by finding, of those that a version predicts and the batch labels; NaN where a class is missing."""


def version_history(
    test: Dataset, predictions: Sequence[VersionPredictions], champion: int | None, min_positives: int
) -> pd.DataFrame:
    """Tabulate a row a version and batch.

    Backward transfer and forgetting are those of the continual-learning literature. With R the mean AUROC of a version
    on a batch: backward transfer is R now minus R when the batch was first trained on (Lopez-Paz and Ranzato, NeurIPS
    2017, equation 3); forgetting is the best R of any version before minus R now (Chaudhry et al., ECCV 2018, section
    3.2). Both are empty for a batch that the version is the first to train on, or has not seen. The means of a version
    are over its own findings with enough patients, and have 95 % intervals; backward transfer and forgetting are over
    all findings that both versions score.

    Args:
        test: the test images of all batches.
        predictions: of the registered versions, the oldest first.
        champion: number of the champion.
        min_positives: patients of each class that a finding needs for a part in the means.

    Returns:
        `version`, `champion_before` (1: it was, before this run), `batch`, `trained_on` (0 or 1), `n`, `patients`,
        `findings_scored` (with both classes: over so many is `mean_auroc_of_all`), `findings_averaged` (over so many
        are the means that follow), `mean_auroc` and `macro_f1`, each with `_ci_low` and `_ci_high`,
        `backward_transfer`, `forgetting`; empty where nothing can be scored.
    """
    batches = list(dict.fromkeys(test.studies["batch"]))
    labels = label_masks(test.labels, test.findings)
    rows = []
    areas = []
    for each in predictions:
        known = labels.of([name for name in each.predictions.findings if name in labels.findings])
        for batch in batches:
            part = (test.studies["batch"] == batch).to_numpy()
            people = test.patients[part]
            area, values = _scores(known.at(part), each.predictions.at(part), people, min_positives)
            areas.append(area)
            rows.append(
                {
                    "version": each.version,
                    "champion_before": int(each.version == champion),
                    "batch": batch,
                    "trained_on": int(batch in each.batches),
                    "n": int(part.sum()),
                    "patients": len(set(people)),
                    "findings_scored": int(np.isfinite(list(area.values())).sum()),
                    **values,
                }
            )
    return _with_transfer(pd.DataFrame(rows, columns=list(COLUMNS)), areas)


def _scores(
    labels: LabelMasks, predictions: Predictions, patients: npt.NDArray[np.str_], min_positives: int
) -> tuple[Areas, dict[str, float]]:
    """Compute the AUROC of each finding, and the means with their intervals; NaN where nothing can be scored."""
    averaged = averaged_findings(labels, patients, min_positives)
    count: dict[str, float] = {"findings_averaged": int(averaged.sum())}
    if not has_both_classes(labels).any():
        return dict.fromkeys(labels.findings, np.nan), count
    sample = Sample(labels, predictions, averaged=averaged)
    area = sample.scores((AUROC,), counted_once(len(labels)))["auroc"][0]
    values = {} if len(set(patients)) < 2 else estimates(sample, MEANS, patients, min_positives)
    means = {name: float(value) for name, value in values.items()}
    return dict(zip(labels.findings, area.tolist(), strict=True)), count | means


def _mean(areas: Areas, findings: Sequence[str]) -> float:
    return float(mean_over_findings(np.array([areas[name] for name in findings])))


def _difference(a: Areas, b: Areas) -> float:
    """Return mean AUROC `a` minus `b` over the findings that both score; NaN without any."""
    shared = [name for name in a if name in b]
    return _mean(a, shared) - _mean(b, shared)


def _with_transfer(table: pd.DataFrame, areas: Sequence[Areas]) -> pd.DataFrame:
    """Add backward transfer and forgetting, from the AUROC by finding of each row."""
    transfer = pd.Series(np.nan, table.index)
    forgetting = pd.Series(np.nan, table.index)
    for _, rows in table.groupby("batch"):
        learned = rows.index[rows["trained_on"] == 1]
        for row in learned[1:]:
            transfer[row] = _difference(areas[row], areas[learned[0]])
            before = rows.index[(rows.index >= learned[0]) & (rows.index < row)]
            lost = [_difference(areas[earlier], areas[row]) for earlier in before]
            forgetting[row] = max((loss for loss in lost if np.isfinite(loss)), default=np.nan)
    return table.assign(backward_transfer=transfer, forgetting=forgetting)
