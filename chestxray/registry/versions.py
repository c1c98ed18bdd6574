"""Register versions of the model in MLflow, and move the aliases that say which one serves."""

import hashlib
import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from chestxray.datasets.trained_on import TRAINED_ON
from chestxray.errors import UserError
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import CARD, bundle_digest
from chestxray.inference.model_uri import ModelURI
from chestxray.registry.registered_version import (
    DIGEST,
    MODEL_FOLDER,
    ROLLED_BACK,
    VERDICT,
    WEIGHTS_DIGEST,
    WEIGHTS_FOLDER,
    RegisteredVersion,
    RegistryError,
    artifact_path,
)
from chestxray.tracking.mlflow_runs import Run

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
HAS_MODELS = "mlflow.log-model.history"
"""Tag of a run without which MLflow's list of runs doesn't ask the registry for its versions; an empty list will do."""


class Registry:
    """A registered model.

    Args:
        client: of the MLflow store.
        name: of the model.
    """

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client = client
        self.name = name

    def versions(self) -> list[RegisteredVersion]:
        """Return all versions that hold a bundle, the oldest first."""
        found = self._client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        versions = [RegisteredVersion(self._client, entity) for entity in found if DIGEST in entity.tags]
        return sorted(versions, key=lambda version: version.number)

    def version(self, number: int) -> RegisteredVersion:
        """Return one version.

        Raises:
            MlflowException, KeyError: there is none, or it holds no bundle.
        """
        return RegisteredVersion(self._client, self._client.get_model_version(self.name, str(number)))

    def version_with_alias(self, alias: str) -> RegisteredVersion | None:
        """Return the version that has an alias, if any has."""
        number = self._client.get_registered_model(self.name).aliases.get(alias)
        return None if number is None else self.version(int(number))

    def register(self, run: Run, bundle: Path, weights: Path, logits: pd.DataFrame | None = None) -> RegisteredVersion:
        """Register a bundle as a version, if it is not one yet, and make it the challenger.

        One process at a time should (`tracking.store.store_lock`). On a server, which can't be locked from here, two
        may at once: of two versions of the same bundle the one with the higher number is taken back. A killed process
        leaves at most artifacts, which the next run writes again.

        Args:
            run: the pipeline's run, which keeps the files.
            bundle: its folder.
            weights: its `.weights.h5` file.
            logits: of the test images, as `evaluation.logits.logits_frame` gives them.

        Returns:
            The version.
        """
        try:
            self._client.create_registered_model(
                self.name, description="Findings in frontal chest radiographs. Research use only."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        digest = bundle_digest(bundle)
        version = self._version_of(digest)
        if version is None:
            new = self._create(run, bundle, weights, digest)
            version = self._version_of(digest) or new
            if version.number != new.number:
                self._client.delete_model_version(self.name, str(new.number))
        if logits is not None and not version.has_logits:
            version.keep_logits(logits)
        self._set_alias(CHALLENGER, version)
        return version

    def describe(self, version: RegisteredVersion, said: str) -> None:
        """Set the description of a version, in Markdown."""
        self._client.update_model_version(self.name, str(version.number), said)

    def promote(self, version: RegisteredVersion) -> None:
        """Make a version the champion and the one before it `previous`; does nothing if it already is."""
        old = self.version_with_alias(CHAMPION)
        if old is not None and old.number == version.number:
            return
        if old is not None:
            self._set_alias(PREVIOUS, old)
        self._set_alias(CHAMPION, version)

    def promote_by_hand(self, number: int) -> RegisteredVersion | None:
        """Make a version the champion whatever the gate said of it, one that was rolled back too.

        Returns:
            The version that was champion, now `previous`; None without one.

        Raises:
            RegistryError: there is no such version, it is champion already, or its files are gone.
            BundleError: its files are damaged.
        """
        try:
            version = self.version(number)
            champion = self.version_with_alias(CHAMPION)
        except (MlflowException, KeyError) as error:
            raise RegistryError(f"there is no version {number} of {self.name} that holds a bundle") from error
        if champion is not None and champion.number == number:
            raise RegistryError(f"version {number} of {self.name} is champion already")
        with tempfile.TemporaryDirectory() as folder:
            version.bundle(folder)
        self.promote(version)
        version.tag(VERDICT, f"promoted by hand{f' after version {champion.number}' if champion else ''}")
        return champion

    def rollback(self) -> tuple[RegisteredVersion, RegisteredVersion]:
        """Give the champion's place back to `previous`, but never to a version that was itself rolled back.

        Returns:
            The version that was champion, and the one that is now.

        Raises:
            RegistryError: no version was champion before, or the one that was has been rolled back.
        """
        try:
            champion = self.version_with_alias(CHAMPION)
            previous = self.version_with_alias(PREVIOUS)
        except MlflowException as error:
            raise RegistryError(f"there is no registered model {self.name}: run dvc repro") from error
        if champion is None or previous is None or champion.number == previous.number:
            raise RegistryError(f"{self.name} has no previous champion to go back to")
        if previous.verdict_tag == ROLLED_BACK:
            raise RegistryError(
                f"champion is version {champion.number} already, version {previous.number} was rolled back: to make it "
                f"champion again all the same, chestxray promote {previous.number}"
            )
        champion.tag(VERDICT, ROLLED_BACK)
        previous.tag(VERDICT, f"restored after version {champion.number}")
        # Champion first: if killed in between, both aliases point at the version asked for.
        self._set_alias(CHAMPION, previous)
        self._set_alias(PREVIOUS, champion)
        return champion, previous

    def pin(self, wanted: str) -> ModelURI:
        """Return the URI of one version, which never means another.

        Args:
            wanted: `@alias` or a number.

        Raises:
            UserError: there is no such version.
        """
        try:
            if wanted.startswith("@"):
                found = self._client.get_model_version_by_alias(self.name, wanted[1:])
                return ModelURI(self.name, version=str(found.version))
            if wanted.isascii() and wanted.isdecimal():
                return ModelURI(self.name, version=str(self._client.get_model_version(self.name, wanted).version))
        except MlflowException as error:
            raise UserError(f"no version {wanted} of the model {self.name} in the registry: {error.message}") from error
        raise UserError(f"{wanted!r} is no version: give @champion, a number, or none")

    def _set_alias(self, alias: str, version: RegisteredVersion) -> None:
        self._client.set_registered_model_alias(self.name, alias, str(version.number))

    def _version_of(self, digest: str) -> RegisteredVersion | None:
        known = self._client.search_model_versions(f"name = '{self.name}' and tags.`{DIGEST}` = '{digest}'")
        versions = [RegisteredVersion(self._client, entity) for entity in known]
        return min(versions, key=lambda version: version.number, default=None)

    def _create(self, run: Run, bundle: Path, weights: Path, digest: str) -> RegisteredVersion:
        run.log_tags({HAS_MODELS: "[]"})
        run.log_artifact(weights, artifact_path(digest, WEIGHTS_FOLDER))
        with tempfile.TemporaryDirectory() as temporary:
            model = Path(temporary, MODEL_FOLDER)
            _save_flavour(bundle, model)
            run.log_artifact(model, artifact_path(digest, MODEL_FOLDER))
        source = f"{self._client.get_run(run.run_id).info.artifact_uri}/{artifact_path(digest, MODEL_FOLDER)}"
        tags = {DIGEST: digest, WEIGHTS_DIGEST: hashlib.sha256(weights.read_bytes()).hexdigest()}
        return RegisteredVersion(
            self._client, self._client.create_model_version(self.name, source, run.run_id, tags=tags)
        )


def _save_flavour(folder: Path, out: Path) -> None:
    """Write MLflow's ONNX flavour of the model, so that `mlflow.pyfunc` loads it, with the card beside it."""
    bundle = Bundle(folder)
    size = bundle.card.size
    findings = len(bundle.card.findings)
    outputs = {
        "logits": (-1, findings),
        "maps": (-1, -1, -1, findings),
        "gate": (-1, len(bundle.model.input_gate.names)),
    }
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 1), "image")]),
        Schema([TensorSpec(np.dtype(np.float32), shape, name) for name, shape in outputs.items() if shape[-1]]),
    )
    needed = mlflow.onnx.get_default_pip_requirements()  # to find the same out, MLflow would start a process: seconds
    model = onnx.load(folder / MODEL)
    mlflow.onnx.save_model(model, out, signature=signature, save_as_external_data=False, pip_requirements=needed)
    shutil.copy(folder / MODEL, out / MODEL)  # the very bytes whose digest the card holds
    for name in (CARD, TRAINED_ON):
        if (folder / name).is_file():
            shutil.copy(folder / name, out / name)
