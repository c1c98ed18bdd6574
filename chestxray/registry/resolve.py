"""Ask MLflow which model an address means, and fetch its bundle.

    python -m chestxray.registry.resolve PARENT models:/chest-xray@champion FOLDER [KNOWN]

puts `model.onnx` and `bundle.json` into FOLDER and prints JSON with `name`, `alias`, `version` and `sha256`, which it
also puts there as `source.json`; nothing is fetched if KNOWN is that SHA-256. The store is the one that
MLFLOW_TRACKING_URI names. The service runs this as a process of its own, since importing MLflow costs 165 MiB; it ends
with the process whose number is PARENT, which starts it.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from chestxray.errors import UserError
from chestxray.inference.bundle import MODEL
from chestxray.inference.bundle_source import SOURCE
from chestxray.inference.card import CARD, bundle_digest
from chestxray.inference.model_uri import ModelURI
from chestxray.registry.registered_version import DIGEST
from chestxray.system.parent import end_with_parent
from chestxray.tracking.store import connect, server_errors


def resolve(
    client: MlflowClient, address: str, folder: Path, known: str | None = None, also: tuple[str, ...] = ()
) -> dict[str, str | None]:
    """Find a version and fetches its bundle, unless it is known.

    Args:
        client: of the MLflow store.
        address: `models:/<name>@<alias>` or `models:/<name>/<version>`.
        folder: where to put the files.
        known: SHA-256 of a card; this bundle need not be fetched again.
        also: files that are fetched too, if the version has them.

    Returns:
        `name` and `alias` of the address, `version`, and `sha256` of the card.

    Raises:
        ValueError: the address is none, the version has no digest, or its card has another one.
        MlflowException: the store has no such model, alias or version.
    """
    uri = ModelURI.parse(address)
    number = client.get_model_version_by_alias(uri.name, uri.alias).version if uri.alias else uri.version
    found = client.get_model_version(uri.name, number)
    digest = found.tags.get(DIGEST)
    if digest is None:
        raise UserError(f"version {found.version} of {uri.name} lacks the tag {DIGEST}; register it with the pipeline")
    told = {"name": uri.name, "alias": uri.alias, "version": str(found.version), "sha256": digest}
    if digest != known:
        _fetch(found.source, folder, digest, json.dumps(told), also)
    return told


def _fetch(source: str, folder: Path, digest: str, told: str, also: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        fetched = Path(download_artifacts(artifact_uri=source, dst_path=temporary))
        if bundle_digest(fetched) != digest:
            raise UserError(f"{CARD} has SHA-256 {bundle_digest(fetched)}, the registry says {digest}")
        (fetched / SOURCE).write_text(told)
        present = (name for name in also if (fetched / name).is_file())
        for name in (*present, MODEL, SOURCE, CARD):  # the card, which vouches for the model, comes last
            shutil.copyfile(fetched / name, Path(temporary, f"new-{name}"))
            Path(temporary, f"new-{name}").replace(folder / name)


def main(parent: str, address: str, folder: str, known: str | None = None) -> None:
    """Print what is found, as JSON; what is wrong ends the process in one line."""
    end_with_parent(int(parent))
    store = os.environ["MLFLOW_TRACKING_URI"]
    try:
        with server_errors(store):
            print(json.dumps(resolve(connect(store), address, Path(folder), known)))
    except (ValueError, OSError, MlflowException) as error:
        sys.exit("; ".join(str(error).split("\n")))


if __name__ == "__main__":
    main(*sys.argv[1:])
