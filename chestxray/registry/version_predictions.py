"""What registered versions of the model say of the same test images."""

import hashlib
import logging
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import split_fingerprint
from chestxray.evaluation.logits import IMAGES_AT_ONCE, content_hashes, logits_frame, predict_logits
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import BundleError
from chestxray.inference.decisions import decide
from chestxray.inference.onnx_model import OnnxModel
from chestxray.metrics.comparison import Scores
from chestxray.params import Params
from chestxray.registry.versions import DIGEST, RegistryError, artifact_path, fetch_bundle, versions
from chestxray.tracking.mlflow_runs import Run

PREDICTIONS_DIGEST = "chestxray.opinions_sha256"
PREDICTIONS_FOLDER, PREDICTIONS_FILE = "opinions", "logits.parquet"
"""Where a version keeps what it said before; without it, it is asked again, with the same result."""


@dataclass(frozen=True)
class VersionPredictions:
    """What a version says of the test images.

    Attributes:
        version: its number.
        batches: that it was trained on.
        synthetic: whether these were phantoms.
        scores: of all test images, N × 14, by its own calibration and operating points.
    """

    version: int
    batches: tuple[str, ...]
    synthetic: bool
    scores: Scores

    def at(self, part: npt.NDArray[np.bool_]) -> Scores:
        """The scores of some of the images."""
        return Scores(np.asarray(self.scores.probabilities)[part], np.asarray(self.scores.decisions)[part])


def predict_versions(client: MlflowClient, test: Dataset, params: Params) -> dict[int, VersionPredictions]:
    """What every registered version that takes the test images says of them; says which ones do not.

    A version is asked about an image once: the logits are kept beside its bundle, by the SHA-256 of the prepared image.
    The first few that it has seen are asked again; if a bit differs, or the file is not what was written, all are.

    Left out are versions that take images of another size, were trained on another split (they may have seen today's
    test patients), do not say how they were made, or have lost their files.

    Args:
        client: of the MLflow store.
        test: the test images of all batches.
        params: of this run.

    Returns:
        By number, the oldest first.
    """
    found = {}
    names = content_hashes(test)
    for version in versions(client, params.register_.model):
        try:
            found[int(version.version)] = _ask(client, version, test, names, params)
        except (RegistryError, BundleError) as error:
            logging.getLogger(__name__).warning("version %s is left out: %s", version.version, error)
    return found


def _ask(
    client: MlflowClient, version: ModelVersion, test: Dataset, names: pd.Index, params: Params
) -> VersionPredictions:
    with tempfile.TemporaryDirectory() as folder:
        bundle = fetch_bundle(client, version, folder)
        card, trained_on = bundle.card, tuple(bundle.card.param("batches"))
        facts = card.split_facts(
            params.prepare.model_dump(mode="json"), split_fingerprint(test.studies, params.prepare)
        )
        facts["prepare.size"] = (card.param("prepare.size"), params.prepare.size)
        facts["findings"] = (card.findings, FINDINGS)
        for name, (then, now) in facts.items():
            if then != now:
                raise RegistryError(f"it was made with {name} {then}, this run has {now}")
        probabilities = bundle.platt.probabilities(_logits(client, version, bundle.network, test, names))
    scores = Scores(probabilities, decide(probabilities, bundle.thresholds))
    return VersionPredictions(int(version.version), trained_on, card.synthetic, scores)


def _logits(
    client: MlflowClient, version: ModelVersion, network: OnnxModel, test: Dataset, names: pd.Index
) -> npt.NDArray[np.float32]:
    """Of the images that have these names; asks for those alone that the version has not seen before."""
    kept = _kept(client, version)
    known = np.flatnonzero(names.isin(kept.index))[:IMAGES_AT_ONCE]
    if len(known):
        again = network.logits(next(_at(test, known).chunks(IMAGES_AT_ONCE)))
        if not np.array_equal(again, kept.loc[names[known]]):  # another runtime or processor may round differently
            kept = kept.iloc[:0]
    missing = np.flatnonzero(~names.isin(kept.index) & ~names.duplicated())
    if len(missing):
        said = predict_logits(network, _at(test, missing), f"version {version.version}")
        kept = pd.concat([kept, logits_frame(names[missing], said)])
        keep_predictions(client, version, kept)
    return kept.loc[names].to_numpy(np.float32)


def _at(images: Dataset, rows: npt.NDArray[np.intp]) -> Dataset:
    return Dataset(images.studies.iloc[rows].reset_index(drop=True), images.images)


def _kept(client: MlflowClient, version: ModelVersion) -> pd.DataFrame:
    """What the version is known to have said: logits by the name of the image; none if the file is lost or damaged."""
    place = f"{artifact_path(version.tags[DIGEST], PREDICTIONS_FOLDER)}/{PREDICTIONS_FILE}"
    with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError):
        if PREDICTIONS_DIGEST in version.tags:
            content = Path(client.download_artifacts(version.run_id, place, folder)).read_bytes()
            if hashlib.sha256(content).hexdigest() == version.tags[PREDICTIONS_DIGEST]:
                return pd.read_parquet(BytesIO(content))
    return pd.DataFrame(columns=list(FINDINGS), dtype=np.float32)


def keep_predictions(client: MlflowClient, version: ModelVersion, said: pd.DataFrame) -> None:
    """Keeps beside a version what it said; where that fails, it is asked again another time.

    The digest comes last: until then, and if another process writes at the same time, the file does not count.

    Args:
        client: of the MLflow store.
        version: that said it.
        said: as `inference.answers` has it.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, PREDICTIONS_FILE)
            said.to_parquet(file)
            Run(client, version.run_id).log_artifact(file, artifact_path(version.tags[DIGEST], PREDICTIONS_FOLDER))
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        client.set_model_version_tag(version.name, version.version, PREDICTIONS_DIGEST, digest)
    except (MlflowException, OSError) as error:
        message = "what version %s says can't be kept, it will be asked again: %s"
        logging.getLogger(__name__).warning(message, version.version, error)
