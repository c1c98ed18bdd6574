"""The MLflow registry: a bundle becomes a version of a registered model, once."""

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

from chestxray.bundle import CARD, MODEL, Bundle
from chestxray.findings import FINDINGS
from chestxray.tracking import Run

CHAMPION = "champion"
CHALLENGER = "challenger"
DIGEST = "chestxray.bundle_sha256"


def register(run: Run, folder: Path, name: str, digest: str) -> ModelVersion:
    """Makes the bundle a version of the model `name`, unless it is one; it becomes challenger, the first one champion.

    Args:
        run: the pipeline's run, which keeps the files.
        folder: the bundle.
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
    known = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST}` = '{digest}'")
    version = known[0] if known else _new_version(run, folder, name, digest)
    aliases = client.get_registered_model(name).aliases
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    if CHAMPION not in aliases:
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return version


def _new_version(run: Run, folder: Path, name: str, digest: str) -> ModelVersion:
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary, "model")
        _save_flavour(folder, model)
        run.log_artifact(model, "model")
    source = f"{run.client.get_run(run.run_id).info.artifact_uri}/model"
    return run.client.create_model_version(name, source, run.run_id, tags={DIGEST: digest})


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
    mlflow.onnx.save_model(onnx.load(folder / MODEL), out, signature=signature, save_as_external_data=False)
    shutil.copy(folder / MODEL, out / MODEL)  # the very bytes whose digest the card holds
    shutil.copy(folder / CARD, out / CARD)


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
            return f"models:/{name}/{client.get_model_version_by_alias(name, wanted[1:]).version}"
        if wanted.isascii() and wanted.isdecimal():
            return f"models:/{name}/{client.get_model_version(name, wanted).version}"
    except MlflowException as error:
        raise ValueError(f"no version {wanted} of the model {name} in the registry: {error.message}") from error
    raise ValueError(f"{wanted!r} is no version: give @champion, a number, or none")
