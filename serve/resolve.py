"""Asks MLflow which model an address means. Run as a process of its own: importing MLflow costs 165 MiB.

    python -m serve.resolve models:/chest-xray@champion FOLDER [KNOWN]

prints JSON with `name`, `alias`, `version`, `sha256` and `folder`, where the files lie; `folder` is null, and nothing
is fetched, if the version is KNOWN. The store is the one that MLFLOW_TRACKING_URI names.
"""

import json
import re
import sys
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from chestxray.registry import DIGEST

ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def resolve(address: str, folder: str, known: str | None = None) -> dict[str, Any]:
    """Finds a version and fetches its files, unless it is known.

    Args:
        address: `models:/<name>@<alias>` or `models:/<name>/<version>`.
        folder: where to put the files.
        known: a version that need not be fetched again.

    Raises:
        ValueError: the address is none, or the version has no digest.
        MlflowException: the store has no such model, alias or version.
    """
    match = ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(f"{address!r} is neither models:/<name>@<alias> nor models:/<name>/<version>")
    client, name, alias = MlflowClient(), match["name"], match["alias"]
    version = client.get_model_version_by_alias(name, alias).version if alias else match["version"]
    found = client.get_model_version(name, version)
    if DIGEST not in found.tags:
        raise ValueError(f"version {found.version} of {name} lacks the tag {DIGEST}; register it with the pipeline")
    new = str(found.version) != known
    return {
        "name": name,
        "alias": alias,
        "version": str(found.version),
        "sha256": found.tags[DIGEST],
        "folder": download_artifacts(artifact_uri=found.source, dst_path=folder) if new else None,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(resolve(*sys.argv[1:])))
    except (ValueError, OSError, MlflowException) as error:
        sys.exit(str(error))
