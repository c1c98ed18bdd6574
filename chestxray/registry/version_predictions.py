"""Predict the test images with every registered version that takes them."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.evaluate import predictions_of_numbered
from chestxray.evaluation.logits import logits_frame, predict_logits, prepared_hashes
from chestxray.inference.card import BundleError
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.status import Status
from chestxray.metrics.table import Predictions
from chestxray.params import Params
from chestxray.registry.compatibility import shared_facts
from chestxray.registry.registered_version import RegisteredVersion, RegistryError
from chestxray.registry.versions import Registry

CHECKED = 8
"""Images of which kept logits are computed again: another runtime or processor may round differently."""


@dataclass(frozen=True)
class VersionPredictions:
    """What a version predicts for the test images.

    Attributes:
        version: its number.
        batches: that it was trained on.
        synthetic: whether these were phantoms.
        predictions: for all test images and its own findings, less those that it has not learned, N × k, by its own
            calibration and operating points.
        titles: of all its findings, by name.
        status: of all its findings, by name.
    """

    version: int
    batches: tuple[str, ...]
    synthetic: bool
    predictions: Predictions
    titles: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, Status] = field(default_factory=dict)


def predict_versions(registry: Registry, test: Dataset, params: Params) -> dict[int, VersionPredictions]:
    """Predict with every registered version that takes the test images; log which ones do not.

    A version predicts an image once: the logits are kept beside its bundle, by the SHA-256 of the prepared image. The
    first few that it has predicted are predicted again; if a bit differs, or the file is not what was written, all are.

    Left out are versions that take images of another size, were trained on another split (they may have seen these test
    patients), do not say how they were made, or have lost their files.

    Args:
        registry: of the model.
        test: the test images of all batches.
        params: of this run.

    Returns:
        By number, the oldest first.
    """
    found = {}
    hashes = prepared_hashes(test)
    for version in registry.versions():
        try:
            found[version.number] = _predict(version, test, hashes, params)
        except (RegistryError, BundleError) as error:
            logging.getLogger(__name__).warning("version %s is left out: %s", version.number, error)
    return found


def _predict(version: RegisteredVersion, test: Dataset, hashes: pd.Index, params: Params) -> VersionPredictions:
    with tempfile.TemporaryDirectory() as folder:
        bundle = version.bundle(folder)
        card = bundle.card
        trained_on = tuple(card.param("batches"))
        for name, (theirs, ours) in shared_facts(card, params, test.studies).items():
            if theirs != ours:
                raise RegistryError(f"it was made with {name} {theirs}, this run has {ours}")
        probabilities = bundle.platt.probabilities(_logits(version, bundle.model, test, hashes))
    predictions = predictions_of_numbered(card.findings, probabilities, bundle.thresholds, card.status)
    return VersionPredictions(
        version.number,
        trained_on,
        card.synthetic,
        predictions,
        titles=dict(zip(card.findings, card.titles, strict=True)),
        status=dict(zip(card.findings, card.status, strict=True)),
    )


def _logits(version: RegisteredVersion, model: OnnxModel, test: Dataset, hashes: pd.Index) -> npt.NDArray[np.float32]:
    """Return the logits of the images that have these hashes; compute those that the version has not kept."""
    kept = version.logits(model.findings)
    stored_rows = np.flatnonzero(hashes.isin(kept.index))[:CHECKED]
    if len(stored_rows):
        again = predict_logits(model, _select(test, stored_rows), f"version {version.number}, again")
        if not np.array_equal(again, kept.loc[hashes[stored_rows]]):
            kept = kept.iloc[:0]
    missing = np.flatnonzero(~hashes.isin(kept.index) & ~hashes.duplicated())
    if len(missing):
        new = predict_logits(model, _select(test, missing), f"version {version.number}")
        kept = pd.concat([kept, logits_frame(hashes[missing], new, model.findings)])
        version.keep_logits(kept)
    return kept.loc[hashes].to_numpy(np.float32)


def _select(images: Dataset, rows: npt.NDArray[np.intp]) -> Dataset:
    return Dataset(images.studies.iloc[rows].reset_index(drop=True), images.images)
