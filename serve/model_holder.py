"""Hold the model being served, and replace it when MODEL_URI comes to mean another one."""

import logging
import tempfile
from pathlib import Path

from chestxray.inference.answer import Model
from chestxray.inference.bundle import Bundle
from chestxray.inference.bundle_source import Found, find_bundle, source_state
from chestxray.inference.predictions import ModelInfo
from chestxray.inference.self_test import open_tested
from serve.problems import ProblemError
from serve.settings import Settings

log = logging.getLogger("serve.model_holder")


class ModelHolder:
    """Hold the model being served.

    Args:
        settings: of the service.

    Attributes:
        model: None until one passed its self-test.
        problem: why the model that MODEL_URI means now is not the one served; None when all is well.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: object = None
        self.model: Model | None = None
        self.problem: str | None = None

    def serving(self) -> Model:
        """Return the model.

        Raises:
            ProblemError: there is none.
        """
        if self.model is None:
            raise ProblemError("model-unavailable", "The service has no model yet; /readyz says why.")
        return self.model

    def refresh(self) -> None:
        """Take up the model that MODEL_URI means now; if that one is not good, the old one goes on serving."""
        try:
            self._take_what_is_new()
        except Exception as error:  # whatever is wrong with a new model, the old one goes on
            if isinstance(error, OSError):  # a disk that is full or fails, which may be over next time
                self._seen = None
            if str(error) != self.problem:
                log.error("model refused", extra={"reason": str(error)})
            self.problem = str(error)

    def _take_what_is_new(self) -> None:
        address = self._settings.model_uri
        store = self._settings.mlflow_tracking_uri
        state = source_state(address, store)
        if state is not None and state == self._seen:
            return
        self._seen = None
        with tempfile.TemporaryDirectory(prefix="chestxray-") as temporary:
            known = self.model.info.sha256 if self.model else None
            folder, found = find_bundle(address, store, Path(temporary), known)
            self._seen = state  # what is refused from here on need not be asked for again
            same = self.model.bundle if self.model and found["sha256"] == known else None
            self._take(found, same or open_tested(folder, self._settings.inference_threads))
        self.problem = None

    def _take(self, found: Found, bundle: Bundle) -> None:
        info = ModelInfo.model_validate({**found, "synthetic": bundle.card.synthetic})
        if self.model is None or info != self.model.info:
            self.model = Model(info, bundle)
            log.info("model taken up", extra={"version": info.version, "sha256": info.sha256})
