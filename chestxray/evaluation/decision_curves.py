"""Say from which threshold on a model's decisions are worth more than acting on every image, or on none."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.labels import Booleans, LabelMasks
from chestxray.metrics.net_benefit import net_benefit
from chestxray.metrics.ranking import DECIMALS

THRESHOLDS = np.arange(1, 51) / 100
"""Of one who holds a missed finding for as bad as a false alarm, up to 99 times as bad."""
COLUMNS = ("finding", "threshold", "net_benefit", "net_benefit_ci_low", "net_benefit_ci_high", "treat_all", "gain",
           "gain_ci_low", "gain_ci_high", "n")  # fmt: skip


def decision_curves(
    labels: LabelMasks,
    probabilities: npt.NDArray[np.floating[Any]],
    learned: Booleans,
    patients: npt.ArrayLike,
    min_patients: int,
) -> pd.DataFrame:
    """Tabulate the decision curve of each learned finding that test has with and without.

    Args:
        labels: of n test images and k findings.
        probabilities: `(n, k)`, calibrated: a threshold is a probability only where they are.
        learned: `(k,)` findings with a probability.
        patients: `(n,)` ids.
        min_patients: of either class, that an interval needs.

    Returns:
        A row a finding and threshold: net benefit of the model and of acting on all images (`treat_all`; on none it is
        0), and their difference `gain`, with 95 % intervals of either; n images.
    """
    tables = [pd.DataFrame(columns=list(COLUMNS))]
    people = np.asarray(patients)
    for place in np.flatnonzero(learned):
        rows, present = labels.labelled_rows(int(place))
        if not 0 < present.sum() < len(present) or len(np.unique(people[rows])) < 2:
            continue
        found = net_benefit(present, probabilities[rows, place].astype(float), people[rows], THRESHOLDS, min_patients)
        values = (labels.findings[place], THRESHOLDS, *found.model, found.treat_all, *found.gain, len(rows))
        tables.append(pd.DataFrame(dict(zip(COLUMNS, values, strict=True))))
    return pd.concat(tables[1:] or tables, ignore_index=True).round(DECIMALS)
