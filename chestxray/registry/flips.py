"""List the test studies whose decision a challenger changes."""

import numpy as np
import pandas as pd

from chestxray.findings import UNLABELLED
from chestxray.metrics.table import Predictions
from chestxray.registry.compatibility import shared_findings

FLIP_COLUMNS = (
    "change", "batch", "image", "patient", "finding", "truth",
    "champion_probability", "champion_decision", "challenger_probability", "challenger_decision",
)  # fmt: skip


def flips(test: pd.DataFrame, champion: Predictions, challenger: Predictions) -> pd.DataFrame:
    """List the test studies whose decision the challenger changes, a row a study and finding, right to wrong first.

    Where the truth is not labelled there is no right and wrong, and no row; nor of a finding that only one decides on.

    Args:
        test: `batch`, `image`, `patient` and a column of labels for each finding, N rows.
        champion, challenger: of the same N images.
    """
    undecided = (*champion.ranked_only, *challenger.ranked_only)
    shared = shared_findings(champion.findings, challenger.findings).shared
    findings = [finding for finding in shared if finding in test and finding not in undecided]
    champion, challenger = champion.of(findings), challenger.of(findings)
    rows = []
    for place, finding in enumerate(findings):
        old, new = (np.asarray(scores.decisions)[:, place].astype(bool) for scores in (champion, challenger))
        labels = test[finding].to_numpy()
        changed = (old != new) & (labels != UNLABELLED)
        part = test.loc[changed, ["batch", "image", "patient"]].assign(finding=finding)
        for name, scores, said in (("champion", champion, old), ("challenger", challenger, new)):
            part[f"{name}_probability"] = np.asarray(scores.probabilities)[changed, place]
            part[f"{name}_decision"] = said[changed].astype(int)
        part.insert(4, "truth", labels[changed].astype(int))
        part.insert(0, "change", np.where(old == labels, "right to wrong", "wrong to right")[changed])
        rows.append(part)
    table: pd.DataFrame = pd.concat(rows or [pd.DataFrame(columns=FLIP_COLUMNS)])[list(FLIP_COLUMNS)]
    return table.sort_values(["change", "finding", "batch", "image"], ignore_index=True)
