"""Tabulate every registered version on every batch's test images; computed anew each time, never appended to."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.labels import drawn_once, has_both_classes, label_masks
from chestxray.metrics.table import HEADLINES, Predictions, Sample
from chestxray.registry.version_predictions import VersionPredictions

COLUMNS = ("version", "champion", "batch", "trained_on", "n", "patients", "mean_auroc", "macro_f1")


def version_history(test: Dataset, predictions: Sequence[VersionPredictions], champion: int | None) -> pd.DataFrame:
    """Tabulate a row a version and batch.

    Backward transfer and forgetting are those of the continual-learning literature. With R the mean AUROC of a version
    on a batch: backward transfer is R now minus R when the batch was first trained on (Lopez-Paz and Ranzato, NeurIPS
    2017, equation 3); forgetting is the best R of any version before minus R now (Chaudhry et al., ECCV 2018, section
    3.2). Both are empty for a batch that the version is the first to train on, or has not seen.

    Args:
        test: the test images of all batches.
        predictions: of the registered versions, the oldest first.
        champion: number of the champion.

    Returns:
        `version`, `champion` (1: before this run), `batch`, `trained_on` (0 or 1), `n`, `patients`, `mean_auroc`,
        `macro_f1`, `backward_transfer`, `forgetting`; empty where nothing can be scored.
    """
    batches = list(dict.fromkeys(test.studies["batch"]))
    rows = []
    for each in predictions:
        for batch in batches:
            part = (test.studies["batch"] == batch).to_numpy()
            mean_auroc, macro_f1 = _scores(test.labels[part], each.predictions.at(part))
            rows.append(
                {
                    "version": each.version,
                    "champion": int(each.version == champion),
                    "batch": batch,
                    "trained_on": int(batch in each.batches),
                    "n": int(part.sum()),
                    "patients": len(set(test.patients[part])),
                    "mean_auroc": mean_auroc,
                    "macro_f1": macro_f1,
                }
            )
    return _with_transfer(pd.DataFrame(rows, columns=list(COLUMNS)))


def _scores(labels: npt.NDArray[np.int8], predictions: Predictions) -> tuple[float, float]:
    """Compute mean AUROC and macro F1; NaN where nothing can be scored."""
    masks = label_masks(labels)
    if not has_both_classes(masks).any():
        return np.nan, np.nan
    scores = Sample(masks, predictions).scores(HEADLINES, drawn_once(len(masks)))
    return float(scores["mean_auroc"][0]), float(scores["macro_f1"][0])


def _with_transfer(table: pd.DataFrame) -> pd.DataFrame:
    """Add backward transfer and forgetting."""
    transfer = pd.Series(np.nan, table.index)
    forgetting = pd.Series(np.nan, table.index)
    for _, rows in table.groupby("batch"):
        learned = rows.index[rows["trained_on"] == 1]
        if len(learned):
            since = rows.loc[learned[0] :, "mean_auroc"]
            after = since.index[1:][rows.loc[since.index[1:], "trained_on"] == 1]
            transfer[after] = since[after] - since.iloc[0]
            forgetting[after] = since.cummax().shift()[after] - since[after]
    return table.assign(backward_transfer=transfer, forgetting=forgetting)
