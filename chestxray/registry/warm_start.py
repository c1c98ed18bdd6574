"""Start fine-tuning from a registered version (a warm start) instead of from the trained head.

The version is named by its number in `params.yaml`, so the run stays a function of its params and inputs.
"""

import itertools
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.inference.card import BundleError, Card
from chestxray.inference.model_uri import ModelURI
from chestxray.inference.status import Status, has_number
from chestxray.models.mobilenet_v2 import LayerWeights, blocks_between
from chestxray.models.weights import HEAD, WeightsError, read_weights
from chestxray.params import Params
from chestxray.registry.compatibility import shared_facts, shared_findings
from chestxray.registry.versions import Registry


class WarmStartError(UserError):
    """This run can't start from the version; the message says why."""


class Parent(NamedTuple):
    """The version from which fine-tuning starts.

    Attributes:
        address: `models:/<name>/<version>`.
        batches: that it was trained on.
        findings: that it has, in the order of its head.
        status: of its findings.
        weights: of its whole network, head included.
    """

    address: str
    batches: tuple[str, ...]
    findings: tuple[str, ...]
    status: tuple[Status, ...]
    weights: LayerWeights

    @property
    def head(self) -> dict[str, npt.NDArray[np.float32]]:
        """The column of each finding that it has a number for: the weights of the features, then the bias.

        The column of a finding that it has not learned says nothing, and is no start.
        """
        kernel, bias = self.weights[HEAD]
        columns = zip(self.findings, np.vstack([kernel, bias]).T, strict=True)
        return dict(itertools.compress(columns, has_number(self.status)))

    def sentence(self, findings: Sequence[str]) -> str:
        """Say which findings of a run start from this version, and which don't."""
        known = [name for name in findings if name in self.head]
        empty = [name for name in findings if name in self.findings and name not in known]
        cold = [name for name in findings if name not in self.findings]
        gone = [name for name in self.findings if name not in findings]
        said = [f"{len(known)} of {len(findings)} findings start from {self.address}"]
        said += [f"cold: {', '.join(cold)}"] if cold else []
        said += [f"cold, since it has not learned them: {', '.join(empty)}"] if empty else []
        said += [f"not of this run: {', '.join(gone)}"] if gone else []
        return "; ".join(said)


def load_parent(client: MlflowClient, address: str, params: Params, test: Dataset, backbone: LayerWeights) -> Parent:
    """Fetch the version to start from, if this run can start from it.

    Args:
        client: of the MLflow store.
        address: `train.warm_start`, `models:/<name>/<version>`.
        params: of this run.
        test: the test images of this run.
        backbone: the frozen weights of this run.

    Raises:
        WarmStartError: there is no such version, its files are damaged, it has learned none of the findings of this
            run, its sizes or architecture differ, or its frozen layers are not those whose activations this run has
            cached.
    """
    mend = "Name another version, or set train.warm_start to null"
    uri = ModelURI.parse(address)
    with tempfile.TemporaryDirectory() as folder:
        try:
            version = Registry(client, uri.name).version(int(uri.version or 0))
            card = version.card(folder)
            file = version.weights(folder)
        except (MlflowException, OSError, ValueError, KeyError) as error:
            raise WarmStartError(
                f"train.warm_start: {address} can't be had from the registry: {error}. {mend}"
            ) from error
        try:
            batches = tuple(card.param("batches"))
            _check_card(address, card, params, test)
            weights = read_weights(file, params.backbone.alpha, len(card.findings), params.head.taps)
            parent = Parent(address, batches, card.findings, card.status, weights)
        except (BundleError, WeightsError) as error:
            raise WarmStartError(f"train.warm_start: {address}: {error}. {mend}") from error
    _check_frozen(parent, params, backbone)
    return parent


def _check_card(address: str, card: Card, params: Params, test: Dataset) -> None:
    learned = tuple(itertools.compress(card.findings, has_number(card.status)))
    if not shared_findings(learned, test.findings).shared:
        raise WarmStartError(
            f"train.warm_start: {address} has learned the findings {', '.join(learned)}, this run has "
            f"{', '.join(test.findings)}: none is shared. Name another version, or set train.warm_start to null"
        )
    facts = shared_facts(card, params, test.studies) | {
        "backbone.weights": (card.param("backbone.weights"), params.backbone.weights),
        "backbone.input_size": (card.input_size, params.backbone.input_size),
        "backbone.alpha": (card.param("backbone.alpha"), params.backbone.alpha),
        "head.taps": (sorted(card.taps), sorted(params.head.taps)),
    }
    for name, (theirs, ours) in facts.items():
        if theirs != ours:
            raise WarmStartError(
                f"train.warm_start: {address} has {name} {theirs}, this run has {ours}. "
                "Set it as it was, or train.warm_start to null"
            )


def _check_frozen(parent: Parent, params: Params, backbone: LayerWeights) -> None:
    start = params.fine_tune.from_layer
    frozen = () if start == "input" else blocks_between(params.backbone.alpha, "input", start)
    for layer in (name for block in frozen for c in block.convolutions for name in (c.name, c.batch_norm)):
        if not all(np.array_equal(a, b) for a, b in zip(parent.weights[layer], backbone[layer], strict=True)):
            raise WarmStartError(
                f"train.warm_start: {parent.address} has other weights in {layer}, before fine_tune.from_layer "
                f"{start}: its backbone differs, or it was trained from an earlier layer. "
                "Set backbone.weights and fine_tune.from_layer as they were, or train.warm_start to null"
            )
