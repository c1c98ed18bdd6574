"""Find the bundle that an address means: a folder, or a version in MLflow's registry."""

import atexit
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from chestxray.inference.bundle import MODEL
from chestxray.inference.card import CARD, BundleError, bundle_digest
from chestxray.inference.model_uri import SCHEME, ModelURI
from chestxray.system.regular_file import read_regular

SECONDS = 300
"""How long MLflow may take to answer."""
LOCAL = "sqlite:///"
SOURCE = "source.json"
"""Lies beside a bundle that came out of a registry, and says which version it is."""
TOP = Path(__file__).parents[2]
"""Where the package `chestxray` lies."""
Found = dict[str, str | None]


def source_state(address: str, store: str) -> object:
    """Return a value that changes whenever what an address means may have changed; None if only asking can tell.

    Asking MLflow costs seconds, looking at the file of a local store or at those of a bundle next to nothing.

    Args:
        address: as for `find_bundle`.
        store: address of MLflow's store.
    """
    if not address.startswith(SCHEME):
        files = [Path(address, name) for name in (CARD, MODEL, SOURCE)]
    elif file := _local(store):
        files = [file, file.with_name(file.name + "-wal")]
    else:
        return None
    states = (each.stat() for each in files if each.exists())
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


def find_bundle(address: str, store: str, folder: Path, known: str | None = None) -> tuple[Path, Found]:
    """Find the bundle that an address means, and fetch it if it is in a registry, unless it is known.

    Args:
        address: the folder of a bundle, `models:/<name>@<alias>` or `models:/<name>/<version>`.
        store: address of MLflow's store.
        folder: where to put the files of a registry.
        known: SHA-256 of a card; this bundle need not be fetched again.

    Returns:
        Where it is; and its `name` and `sha256`, of the card, and if a registry has it, or had when it was bundled,
        `version` and `alias`, which is None if the address has none.

    Raises:
        BundleError: there is no such folder, store, model, alias or version, or no answer within five minutes.
    """
    if address.startswith(SCHEME):
        return folder, _ask_registry(address, store, folder, known)
    path = Path(address)
    try:
        digest = bundle_digest(path)
        source = json.loads(read_regular(path / SOURCE)) if (path / SOURCE).exists() else {}
        found: Found = source if source.get("sha256") == digest else {"name": path.resolve().name}
        return path, {**found, "sha256": digest}
    except (OSError, ValueError) as error:
        raise BundleError(f"{address} is no bundle: {error}; `make reproduce` makes models/bundle") from error


def _local(store: str) -> Path | None:
    """Return the file of a local store; a relative address goes by the working directory of this process."""
    return Path(store.removeprefix(LOCAL).partition("?")[0]).absolute() if store.startswith(LOCAL) else None


def _ask_registry(address: str, store: str, folder: Path, known: str | None) -> Found:
    """Resolve the address in a process of its own, since importing MLflow costs 165 MiB."""
    ModelURI.parse(address)
    if find_spec("mlflow") is None:
        raise BundleError(
            f"{address} is in MLflow's registry, and MLflow is not installed here: set MODEL_URI to a bundle's folder"
        )
    file = _local(store)
    if file and not file.is_file():
        raise BundleError(f"there is no MLflow store {store}; `make reproduce` makes one, or name a bundle's folder")
    asked = [str(os.getpid()), address, str(folder), *([known] if known else [])]
    command = [sys.executable, "-m", "chestxray.registry.resolve", *asked]
    uri = f"{LOCAL}{file}" if file else store
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=TOP, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        atexit.register(process.kill)  # this process may end in the meantime
        try:
            output, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise BundleError(f"MLflow did not answer within {SECONDS} s") from error
        except BaseException:  # this process is to end: nothing shall be fetched after it
            process.kill()
            raise
        finally:
            atexit.unregister(process.kill)
    if process.returncode:
        raise BundleError(f"MLflow: {(errors.strip() or 'no reason given').splitlines()[-1]}")
    found: Found = json.loads(output.strip().rpartition("\n")[2])
    return found
