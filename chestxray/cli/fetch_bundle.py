"""Bring the bundle of a registered version into a folder."""

import argparse
import json
from pathlib import Path

from mlflow.exceptions import MlflowException

from chestxray.errors import UserError
from chestxray.registry.resolve import resolve
from chestxray.tracking.store import open_store


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="models:/<name>@<alias> or models:/<name>/<version>")
    parser.add_argument("folder", type=Path, help="where to put model.onnx, bundle.json and source.json")


def run(options: argparse.Namespace) -> int:
    """Fetch it and say which version it is."""
    try:
        print(json.dumps(resolve(open_store(), options.model, options.folder)))
    except MlflowException as error:
        raise UserError(f"MLflow: {error.message}") from error
    return 0
