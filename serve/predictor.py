"""The model being served, and replaced when MODEL_URI comes to mean another one."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chestxray.acceptance import accept
from chestxray.ask_registry import ask_registry
from chestxray.bundle import CARD, MODEL, Bundle, BundleError, bundle_digest
from serve.problems import ProblemError
from serve.schemas import ModelInfo
from serve.settings import Settings

log = logging.getLogger("serve.predictor")


@dataclass(frozen=True)
class Model:
    """A model that proved good, and which one it is."""

    info: ModelInfo
    bundle: Bundle


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
        try:
            state = self._state()
            if state is not None and state == self._seen:
                return
            with tempfile.TemporaryDirectory(prefix="chestxray-") as temporary:
                folder, found = self._find(temporary)
                self._seen = state  # what is refused from here on need not be asked for again
                if folder is not None:
                    self._take(folder, found)
            self.problem = None
        except (BundleError, OSError, ValueError) as error:  # a full disk, an answer cut off: tried again next time
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

    def _take(self, folder: Path, found: dict[str, str]) -> None:
        bundle = accept(folder, self._settings.inference_threads)
        self.model = Model(ModelInfo.model_validate({**found, "synthetic": bundle.card.synthetic}), bundle)
        log.info("model taken up", extra={"version": self.model.info.version, "sha256": self.model.info.sha256})

    def _find(self, temporary: str) -> tuple[Path | None, dict[str, str]]:
        """What MODEL_URI means, and its folder, or none if that is being served."""
        served, uri = self.model.info if self.model else None, self._settings.model_uri
        if uri.startswith("models:/"):
            known = served.version if served else None
            found = ask_registry(uri, self._settings.mlflow_tracking_uri, temporary, known)
            return None if found["version"] == known else Path(temporary), found
        try:
            found = {"name": Path(uri).resolve().name, "sha256": bundle_digest(Path(uri))}
        except OSError as error:
            raise BundleError(f"MODEL_URI names no bundle: {error}; `make reproduce` makes models/bundle") from error
        return None if served and served.sha256 == found["sha256"] else Path(uri), found
