"""The MLflow registry: a bundle becomes a version of a registered model, once, and aliases say which one serves."""

import hashlib
import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from chestxray.errors import UserError
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import CARD, MODEL, Bundle, bundle_digest
from chestxray.inference.model_uri import ModelURI
from chestxray.tracking.mlflow_runs import Run

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
DIGEST = "chestxray.bundle_sha256"
WEIGHTS_DIGEST = "chestxray.weights_sha256"
VERDICT = "chestxray.verdict"
ROLLED_BACK = "rolled back"
MODEL_FOLDER = "model"
WEIGHTS_FOLDER = "weights"
VERDICT_FOLDER = "verdict"
"""Where a version keeps its bundle, the weights that a warm start goes on from, and the verdict on it."""


class RegistryError(UserError):
    """The registry has no such version or alias; the message says what to do."""


def register(run: Run, folder: Path, weights: Path, name: str, digest: str) -> ModelVersion:
    """Makes the bundle a version of the model `name`, unless it is one, and the challenger.

    One process at a time should (`tracking.one_at_a_time`). On a server, which can't be locked from here, two may at
    once: of two versions of the same bundle the one with the higher number is taken back. A killed process leaves at
    most artifacts, which the next run writes again.

    Args:
        run: the pipeline's run, which keeps the files.
        folder: the bundle.
        weights: its `.weights.h5` file.
        name: of the registered model.
        digest: of the bundle, by which it is found again.

    Returns:
        The version.
    """
    client = run.client
    try:
        client.create_registered_model(name, description="Findings in frontal chest radiographs. Research use only.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = _find(client, name, digest)
    if version is None:
        new = _new_version(run, folder, weights, name, digest)
        version = _find(client, name, digest) or new
        if version.version != new.version:
            client.delete_model_version(name, new.version)
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    return version


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of the model that hold a bundle, the oldest first."""
    found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
    return sorted((version for version in found if DIGEST in version.tags), key=lambda version: int(version.version))


def version_with_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that has an alias, if any has."""
    number = client.get_registered_model(name).aliases.get(alias)
    return None if number is None else client.get_model_version(name, number)


def artifact_path(digest: str, what: str) -> str:
    """Folder of a version's files among the artifacts of its run, which may have made several bundles."""
    return f"versions/{digest[:16]}/{what}"


def fetch_bundle(client: MlflowClient, version: ModelVersion, folder: str) -> Bundle:
    """Brings the bundle of a version into a folder and opens it.

    Raises:
        RegistryError: its files are gone, or not those registered.
        BundleError: they are damaged.
    """
    digest = version.tags[DIGEST]
    mend = f"delete version {version.version} of {version.name} from the registry"
    try:
        path = Path(client.download_artifacts(version.run_id, artifact_path(digest, MODEL_FOLDER), folder))
        same = bundle_digest(path) == digest
    except (MlflowException, OSError) as error:
        raise RegistryError(f"the files of version {version.version} are gone ({error}): {mend}") from error
    if not same:
        raise RegistryError(f"the files of version {version.version} are not those registered: {mend}")
    return Bundle(path)


def promote(client: MlflowClient, version: ModelVersion) -> None:
    """Makes a version the champion and the one before it `previous`; whoever is champion already stays it."""
    old = version_with_alias(client, version.name, CHAMPION)
    if old is not None and old.version == version.version:
        return
    if old is not None:
        client.set_registered_model_alias(version.name, PREVIOUS, old.version)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)


def rollback(client: MlflowClient, name: str) -> tuple[ModelVersion, ModelVersion]:
    """Gives the champion's place back to `previous`; a second time takes that back.

    Returns:
        The version that was champion, and the one that is now.

    Raises:
        RegistryError: no version was champion before.
    """
    try:
        champion, previous = version_with_alias(client, name, CHAMPION), version_with_alias(client, name, PREVIOUS)
    except MlflowException as error:
        raise RegistryError(f"there is no registered model {name}: run dvc repro") from error
    if champion is None or previous is None or champion.version == previous.version:
        raise RegistryError(f"{name} has no previous champion to go back to")
    client.set_model_version_tag(name, champion.version, VERDICT, ROLLED_BACK)
    client.set_model_version_tag(name, previous.version, VERDICT, f"restored after version {champion.version}")
    # The champion first: a killed rollback leaves the version that was asked for in both places.
    client.set_registered_model_alias(name, CHAMPION, previous.version)
    client.set_registered_model_alias(name, PREVIOUS, champion.version)
    return champion, previous


def pinned_version(client: MlflowClient, name: str, wanted: str) -> str:
    """The URI of one version, which never means another: `models:/<name>/<number>`.

    Args:
        client: of the store.
        name: of the registered model.
        wanted: `@alias` or a number.

    Raises:
        ValueError: there is no such version.
    """
    try:
        if wanted.startswith("@"):
            return str(ModelURI(name, version=str(client.get_model_version_by_alias(name, wanted[1:]).version)))
        if wanted.isascii() and wanted.isdecimal():
            return str(ModelURI(name, version=str(client.get_model_version(name, wanted).version)))
    except MlflowException as error:
        raise UserError(f"no version {wanted} of the model {name} in the registry: {error.message}") from error
    raise UserError(f"{wanted!r} is no version: give @champion, a number, or none")


def _find(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    known = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST}` = '{digest}'")
    return min(known, key=lambda version: int(version.version), default=None)


def _new_version(run: Run, folder: Path, weights: Path, name: str, digest: str) -> ModelVersion:
    run.log_artifact(weights, artifact_path(digest, WEIGHTS_FOLDER))
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary, MODEL_FOLDER)
        _save_flavour(folder, model)
        run.log_artifact(model, artifact_path(digest, MODEL_FOLDER))
    source = f"{run.client.get_run(run.run_id).info.artifact_uri}/{artifact_path(digest, MODEL_FOLDER)}"
    tags = {DIGEST: digest, WEIGHTS_DIGEST: hashlib.sha256(weights.read_bytes()).hexdigest()}
    return run.client.create_model_version(name, source, run.run_id, tags=tags)


def _save_flavour(folder: Path, out: Path) -> None:
    """MLflow's ONNX flavour of the model, so that `mlflow.pyfunc` loads it, with the card beside it."""
    size = Bundle(folder).card.size
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 1), "image")]),
        Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, len(FINDINGS)), "logits"),
                TensorSpec(np.dtype(np.float32), (-1, -1, -1, len(FINDINGS)), "maps"),
            ]
        ),
    )
    needed = mlflow.onnx.get_default_pip_requirements()  # to find the same out, MLflow would start a process: seconds
    model = onnx.load(folder / MODEL)
    mlflow.onnx.save_model(model, out, signature=signature, save_as_external_data=False, pip_requirements=needed)
    shutil.copy(folder / MODEL, out / MODEL)  # the very bytes whose digest the card holds
    shutil.copy(folder / CARD, out / CARD)
