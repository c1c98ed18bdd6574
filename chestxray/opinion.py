"""What registered versions of the model say of the same test images."""

import logging
import tempfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from chestxray.bundle import BundleError
from chestxray.comparison import Scores
from chestxray.dataset import Dataset
from chestxray.findings import FINDINGS
from chestxray.operating_points import decide
from chestxray.params import Params
from chestxray.progress import progress
from chestxray.registry import RegistryError, fetch_bundle, versions

IMAGES_AT_ONCE = 8


@dataclass(frozen=True)
class Opinion:
    """What a version says of the test images.

    Attributes:
        version: its number.
        batches: that it was trained on.
        scores: of all test images, N × 14, by its own calibration and operating points.
    """

    version: int
    batches: tuple[str, ...]
    scores: Scores

    def at(self, part: npt.NDArray[np.bool_]) -> Scores:
        """The scores of some of the images."""
        return Scores(np.asarray(self.scores.probabilities)[part], np.asarray(self.scores.decisions)[part])


def opinions(client: MlflowClient, test: Dataset, params: Params) -> dict[int, Opinion]:
    """Passes the test images through every registered version that takes them; says which ones do not.

    Left out are versions that take images of another size, were trained on another split (they may have seen today's
    test patients), or have lost their files.

    Args:
        client: of the MLflow store.
        test: the test images of all batches.
        params: of this run.

    Returns:
        By number, the oldest first.
    """
    found = {}
    for version in versions(client, params.register_.model):
        try:
            found[int(version.version)] = _ask(client, version, test, params)
        except (RegistryError, BundleError) as error:
            logging.getLogger(__name__).warning("version %s is left out: %s", version.version, error)
    return found


def _ask(client: MlflowClient, version: ModelVersion, test: Dataset, params: Params) -> Opinion:
    with tempfile.TemporaryDirectory() as folder:
        bundle = fetch_bundle(client, version, folder)
        prepared, now = bundle.card.params["prepare"], params.prepare.model_dump(mode="json")
        other = [key for key in ("size", "test", "validation", "salt") if prepared[key] != now[key]]
        if other or bundle.card.findings != FINDINGS:
            raise RegistryError(f"it was made with another {f'prepare.{other[0]}' if other else 'list of findings'}")
        total = -(-len(test.studies) // IMAGES_AT_ONCE)
        chunks = progress(
            test.chunks(IMAGES_AT_ONCE), f"version {version.version}", total, f"batch of {IMAGES_AT_ONCE} image"
        )
        probabilities = bundle.platt.probabilities(bundle.network.logits_of(chunks))
    scores = Scores(probabilities, decide(probabilities, bundle.thresholds))
    return Opinion(int(version.version), tuple(bundle.card.params["batches"]), scores)
