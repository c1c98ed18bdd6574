"""The model being served, and replaced when MODEL_URI comes to mean another one."""

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
    """Holds the model being served.

    Attributes:
        model: None until one proved good.
        problem: why the model that MODEL_URI means now is not the one served; None when all is well.
    """

    def __init__(self, settings: Settings) -> None:
        self._source, self._threads = (settings.model_uri, settings.mlflow_tracking_uri), settings.inference_threads
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
            state = source_state(*self._source)
            if state is not None and state == self._seen:
                return
            self._seen = None
            with tempfile.TemporaryDirectory(prefix="chestxray-") as temporary:
                known = self.model.info.sha256 if self.model else None
                folder, found = find_bundle(*self._source, Path(temporary), known)
                self._seen = state  # what is refused from here on need not be asked for again
                same = self.model.bundle if self.model and found["sha256"] == known else None
                self._take(found, same or open_tested(folder, self._threads))
            self.problem = None
        except Exception as error:  # whatever is wrong with a new model, the old one goes on
            if isinstance(error, OSError):  # a disk that is full or fails, which may be over next time
                self._seen = None
            if str(error) != self.problem:
                log.error("model refused", extra={"reason": str(error)})
            self.problem = str(error)

    def _take(self, found: Found, bundle: Bundle) -> None:
        info = ModelInfo.model_validate({**found, "synthetic": bundle.card.synthetic})
        if self.model is None or info != self.model.info:
            self.model = Model(info, bundle)
            log.info("model taken up", extra={"version": info.version, "sha256": info.sha256})
