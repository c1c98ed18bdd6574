"""The model being served: found, checked, warmed up, and replaced when MODEL_URI means another one."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chestxray.bundle import CARD, MODEL, Bundle, BundleError, bundle_digest
from chestxray.findings import FINDINGS
from serve.problems import ProblemError
from serve.settings import REPOSITORY, Settings

RESOLVE_SECONDS = 300

log = logging.getLogger("serve.predictor")


class ModelError(Exception):
    """The model can't be served; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """Which model an address means.

    Attributes:
        name: of the registered model, or of the bundle's folder.
        version, alias: in the registry; None for a folder.
        sha256: of `bundle.json`, which holds that of `model.onnx`.
        folder: of the files; None if they are being served already.
    """

    name: str
    version: str | None
    alias: str | None
    sha256: str
    folder: str | None


@dataclass(frozen=True)
class Model:
    """A model that proved good, and where it is from."""

    source: Source
    bundle: Bundle


def open_model(source: Source, threads: int) -> Model:
    """Opens a bundle and makes sure that it can be trusted with a request.

    Args:
        source: with its folder.
        threads: of one inference; 0 takes all cores.

    Raises:
        ModelError: wrong digest, labels, shapes or numbers, tensors in other files, or ONNX Runtime refuses it.
    """
    folder = Path(source.folder or "")
    try:
        digest = bundle_digest(folder)
        if digest != source.sha256:
            raise ModelError(f"{CARD} has SHA-256 {digest}, the registry says {source.sha256}")
        bundle = Bundle(folder, threads)
        _warm_up(bundle)
    except (BundleError, OSError) as error:
        raise ModelError(f"the bundle can't be opened: {error}") from error
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime has a class for each way to be wrong, without a common base
        raise ModelError(f"the model does not run: {error}") from error
    return Model(source, bundle)


def _warm_up(bundle: Bundle) -> None:
    """One inference, checked: labels in our order, finite numbers, and maps that add up to the logits."""
    card, network = bundle.card, bundle.network
    if card.findings != FINDINGS or len(card.thresholds) != len(FINDINGS):
        raise ModelError(f"the model's findings are {', '.join(card.findings)}; expected {', '.join(FINDINGS)}")
    if (card.size, card.input_size) != (network.size, network.input_size):
        raise ModelError(f"{CARD} and {MODEL} disagree about the size of the image")
    grey = np.full((1, card.size, card.size, 1), 128, np.uint8)
    logits, maps = network.logits_and_maps(grey)
    if not np.allclose(maps.mean(axis=(1, 2)) + card.bias, logits, atol=1e-3):
        raise ModelError("the maps do not add up to the logits")
    bundle.platt.probabilities(logits)  # raises for what is not finite


class Predictor:
    """Holds the model being served.

    Attributes:
        model: None until one proved good.
        problem: why the model that MODEL_URI means now is not the one served; None when all is well.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: object = None
        self.model: Model | None = None
        self.problem: str | None = None

    def serving(self) -> Model:
        """The model.

        Raises:
            ProblemError: there is none.
        """
        if self.model is None:
            raise ProblemError("model-unavailable", "The service has no model yet; /readyz says why.")
        return self.model

    def refresh(self) -> None:
        """Takes up the model that MODEL_URI means now; if that one is not good, the old one goes on serving."""
        state = self._state()
        if state is not None and state == self._seen:
            return
        try:
            with tempfile.TemporaryDirectory(prefix="chestxray-") as folder:
                source = self._resolve(folder)
                self._seen = state
                if source.folder is not None:
                    self.model = open_model(source, self._settings.inference_threads)
                    log.info("model taken up", extra={"version": source.version, "sha256": source.sha256})
            self.problem = None
        except ModelError as error:
            if str(error) != self.problem:
                log.error("model refused", extra={"reason": str(error)})
            self.problem = str(error)

    def _state(self) -> object:
        """Changes whenever what MODEL_URI means may have changed; None if only asking can tell.

        Asking MLflow costs seconds, looking at the file of a local store or at a bundle's card next to nothing.
        """
        uri, store = self._settings.model_uri, self._settings.mlflow_tracking_uri
        if uri.startswith("models:/") and not store.startswith("sqlite:///"):
            return None
        file = store.removeprefix("sqlite:///") if uri.startswith("models:/") else f"{uri}/{CARD}"
        files = (Path(file), Path(f"{file}-wal"), Path(uri, MODEL))
        return [each.stat().st_mtime_ns for each in files if each.exists()]

    def _resolve(self, folder: str) -> Source:
        uri = self._settings.model_uri
        if uri.startswith("models:/"):
            return self._ask_mlflow(folder)
        try:
            digest = bundle_digest(Path(uri))
        except OSError as error:
            raise ModelError(f"MODEL_URI names no bundle: {error}; `make reproduce` makes models/bundle") from error
        new = self.model is None or self.model.source.sha256 != digest
        return Source(Path(uri).resolve().name, None, None, digest, uri if new else None)

    def _ask_mlflow(self, folder: str) -> Source:
        store = self._settings.mlflow_tracking_uri
        if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
            raise ModelError(
                f"there is no MLflow store {store}; `make reproduce` makes one, or set MODEL_URI to a bundle"
            )
        known = [self.model.source.version] if self.model and self.model.source.version else []
        command = [sys.executable, "-m", "serve.resolve", self._settings.model_uri, folder, *known]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
        try:
            done = subprocess.run(
                command,
                cwd=REPOSITORY,
                env=environment,
                capture_output=True,
                text=True,
                timeout=RESOLVE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"MLflow did not answer within {RESOLVE_SECONDS} s") from error
        if done.returncode:
            raise ModelError(f"MLflow: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
        return Source(**json.loads(done.stdout.splitlines()[-1]))
