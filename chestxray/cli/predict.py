"""Answer about files without a server: a line of JSON for each, as `/predict` gives it, with the name of the file."""

import argparse
import json
import os
import tempfile
import uuid
from pathlib import Path

from pydantic import ValidationError

from chestxray.errors import UserError, one_line
from chestxray.imaging.radiograph import MAX_PIXELS, RadiographError
from chestxray.inference.answer import Model, answer
from chestxray.inference.bundle_source import find_bundle
from chestxray.inference.predictions import ModelInfo, Options, Quality
from chestxray.inference.self_test import open_tested

STORE = "sqlite:///.mlflow/mlflow.db"
"""MLflow's store if MLFLOW_TRACKING_URI names none: the one that `dvc repro` makes in this folder."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="PNG, JPEG, TIFF, JPEG 2000 or DICOM")
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL_URI", "models:/chest-xray@champion"),
        help="folder of a bundle, or models:/<name>@<alias> (default: what MODEL_URI says, else the champion)",
    )
    parser.add_argument("--heatmaps", choices=("none", "inline", "raw"), default="none", help="default: none")
    parser.add_argument("--heatmaps-for", choices=("positive", "all"), default="positive", help="default: positive")
    parser.add_argument("--threshold", type=float, help="instead of every operating point, 0–1")
    parser.add_argument(
        "--accept-anyway", action="store_true", help="answer about an image that the checks refuse, such as a hand"
    )


def run(options: argparse.Namespace) -> int:
    """Print an answer for each file; exit code 1 if one could not be used."""
    try:
        given = {name: getattr(options, name) for name in Options.model_fields}
        wanted = Options.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise UserError("; ".join(f"--{e['loc'][0]}: {e['msg']}, given {e['input']}" for e in error.errors())) from None
    model = open_model(options.model)
    return max([_print_answer(model, file, wanted) for file in options.files])


def open_model(address: str) -> Model:
    """Open and try the model that an address means.

    Raises:
        BundleError: there is none, or it is not good.
    """
    store = os.environ.get("MLFLOW_TRACKING_URI", STORE)
    with tempfile.TemporaryDirectory(prefix="chestxray-") as temporary:
        folder, found = find_bundle(address, store, Path(temporary))
        bundle = open_tested(folder, threads=0)
    return Model(ModelInfo.model_validate({**found, "synthetic": bundle.card.synthetic}), bundle)


def _print_answer(model: Model, file: Path, options: Options) -> int:
    """Print the answer about a file, or why there is none; returns 1 then."""
    try:
        prediction = answer(model, file.read_bytes(), options, MAX_PIXELS, uuid.uuid4().hex)
        said = prediction.model_dump(mode="json")
        code = 0
    except (RadiographError, OSError) as error:
        refused = error if isinstance(error, RadiographError) else None
        said = {"type": refused.kind if refused else "unreadable-file", "detail": one_line(error)}
        if refused and refused.checks:
            said["quality"] = Quality.of(refused.checks).model_dump(mode="json")
        code = 1
    print(json.dumps({"file": str(file), **said}, ensure_ascii=False))
    return code
