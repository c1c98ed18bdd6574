"""Which model an address means, asked of MLflow in a process of its own (`chestxray.resolve`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

from chestxray.bundle import BundleError

SECONDS = 300


def ask_registry(address: str, store: str, folder: str, known: str | None = None) -> dict[str, str]:
    """Fetches the bundle that an address means, unless it is known.

    Args:
        address: `models:/<name>@<alias>` or `models:/<name>/<version>`.
        store: address of MLflow's store.
        folder: where to put the files.
        known: a version that need not be fetched again.

    Returns:
        `name` and `alias` of the address, `version`, and `sha256` of the card.

    Raises:
        BundleError: there is no such store, model, alias or version, or no answer within five minutes.
    """
    if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
        raise BundleError(f"there is no MLflow store {store}; `make reproduce` makes one, or set MODEL_URI to a bundle")
    command = [sys.executable, "-m", "chestxray.resolve", address, folder, *([known] if known else [])]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
    top = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            command, cwd=top, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"MLflow did not answer within {SECONDS} s") from error
    if done.returncode:
        raise BundleError(f"MLflow: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found
