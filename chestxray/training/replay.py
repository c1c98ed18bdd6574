"""Choose the training images of a run that starts from an earlier version (experience replay)."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import findings_of


def replay_rows(studies: pd.DataFrame, seen_batches: list[str], share: float, seed: int) -> npt.NDArray[np.intp]:
    """Choose all images that the earlier version has not seen, and a share of those it has, lest it forget them.

    Source: Rolnick et al., "Experience Replay for Continual Learning", NeurIPS 2019. The share is drawn without
    replacement and balances the findings: an image weighs as much as its rarest finding (or No Finding, if none is
    known of it) is rare (exponential keys of Efraimidis and Spirakis, Information Processing Letters 97, 2006).

    Args:
        studies: of the training images, a row an image: `batch` and the findings.
        seen_batches: those that the earlier version was trained on; none for a cold start.
        share: of their images, 0–1, rounded up.
        seed: of the draw.

    Returns:
        Row numbers, ascending.
    """
    seen = studies["batch"].isin(seen_batches).to_numpy()
    known = studies[list(findings_of(studies))].to_numpy(np.int8)
    labels = known[:, (known == 0).any(axis=0)][seen] == 1  # a finding that all have tells no image from another
    classes = np.column_stack([labels, ~labels.any(axis=1)])
    weights = (classes / np.maximum(classes.sum(axis=0), 1)).max(axis=1, initial=0.0)
    keys = np.random.default_rng(seed).exponential(size=len(weights)) / weights
    drawn = np.argsort(keys, kind="stable")[: int(np.ceil(share * len(keys)))]
    return np.sort(np.concatenate([np.flatnonzero(~seen), np.flatnonzero(seen)[drawn]]))
