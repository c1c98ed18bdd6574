"""Where fine-tuning starts: from the trained head, or from a registered version of the model.

A warm start goes on from a version named in `params.yaml`, so the run stays a function of its params and inputs. It
trains on what that version has not seen, and again on a share of what it has ("experience replay": Rolnick et al.,
NeurIPS 2019), which keeps it from forgetting.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.findings import FINDINGS
from chestxray.mobilenet import LayerWeights, blocks_between
from chestxray.network import HEAD, WeightsError, read_weights
from chestxray.params import Params

WEIGHTS = "start.weights.h5"
PARENT = "parent.json"


class WarmStartError(ValueError):
    """The version can't be gone on from; the message says why."""


@dataclass(frozen=True)
class Parent:
    """The version that is gone on from.

    Attributes:
        address: as in `train.warm_start`.
        card: content of its `bundle.json`.
        weights: its file of weights, head included.
    """

    address: str
    card: dict[str, Any]
    weights: Path


def parent_weights(parent: Parent, params: Params, backbone: LayerWeights) -> LayerWeights:
    """The weights of the whole network of a version, if this pipeline can go on from it.

    Args:
        parent: the version.
        params: of this run.
        backbone: the frozen weights of this run.

    Raises:
        WarmStartError: its findings, sizes or architecture differ, or its frozen layers are not those whose
            activations this run has cached.
    """
    facts = {
        "findings": (list(parent.card["findings"]), list(FINDINGS)),
        "prepare.size": (parent.card["size"], params.prepare.size),
        "backbone.input_size": (parent.card["input_size"], params.backbone.input_size),
        "backbone.alpha": (parent.card["params"]["backbone"]["alpha"], params.backbone.alpha),
    }
    for name, (theirs, ours) in facts.items():
        if theirs != ours:
            raise WarmStartError(
                f"train.warm_start: {parent.address} has {name} {theirs}, this run has {ours}. "
                "Set it as it was, or train.warm_start to null"
            )
    try:
        weights = read_weights(parent.weights, params.backbone, head=True)
    except WeightsError as error:
        raise WarmStartError(f"train.warm_start: {parent.address}: {error}") from error
    start = params.fine_tune.from_layer
    frozen = () if start == "input" else blocks_between(params.backbone.alpha, "input", start)
    for layer in (name for block in frozen for c in block.convolutions for name in (c.name, c.batch_norm)):
        if not all(np.array_equal(a, b) for a, b in zip(weights[layer], backbone[layer], strict=True)):
            raise WarmStartError(
                f"train.warm_start: {parent.address} has other weights in {layer}, before fine_tune.from_layer "
                f"{start}: its backbone differs, or it was trained from an earlier layer. "
                "Set backbone.weights and fine_tune.from_layer as they were, or train.warm_start to null"
            )
    return weights


def with_head(backbone: LayerWeights, head: npt.NDArray[np.float32]) -> LayerWeights:
    """The whole network of a cold start.

    Args:
        backbone: the frozen weights.
        head: float32 1281 × 14, the last row is the bias.
    """
    return backbone | {HEAD: [head[:-1], head[-1]]}


def replayed(studies: pd.DataFrame, seen_batches: list[str], share: float, seed: int) -> npt.NDArray[np.intp]:
    """Which training images a run goes over: all that the parent has not seen, and a share of those it has.

    The share is drawn without replacement so that findings are balanced: an image counts as much as its rarest
    finding (or No Finding, if it has none) is rare (exponential keys of Efraimidis and Spirakis, Inf. Process. Lett.
    97, 2006).

    Args:
        studies: the training side, a row an image: `batch` and the 14 findings.
        seen_batches: those that the parent was trained on; none for a cold start.
        share: of their images, 0–1, rounded up.
        seed: of the draw.

    Returns:
        Row numbers, in order.
    """
    seen = studies["batch"].isin(seen_batches).to_numpy()
    labels = studies.loc[seen, list(FINDINGS)].to_numpy() == 1
    classes = np.column_stack([labels, ~labels.any(axis=1)])
    rarity = np.where(classes, 1.0 / np.maximum(classes.sum(axis=0), 1), 0.0).max(axis=1, initial=0.0)
    keys = np.random.default_rng(seed).exponential(size=len(rarity)) / np.maximum(rarity, 1e-12)
    drawn = np.argsort(keys, kind="stable")[: int(np.ceil(share * len(keys)))]
    return np.sort(np.concatenate([np.flatnonzero(~seen), np.flatnonzero(seen)[drawn]]))
