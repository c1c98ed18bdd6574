"""Hold the model being served, and replace it when MODEL_URI comes to mean another one."""

import logging
import tempfile
from pathlib import Path
from typing import NamedTuple

from chestxray.errors import masked
from chestxray.inference.answer import Model
from chestxray.inference.bundle import Bundle
from chestxray.inference.bundle_source import Found, find_bundle, source_state
from chestxray.inference.predictions import ModelInfo
from chestxray.inference.self_test import open_tested
from chestxray.system.malloc import give_back_free_memory
from serve.problems import ProblemError
from serve.settings import Settings

log = logging.getLogger("serve.model_holder")


SENTENCES = {
    "model-not-found": "The model that MODEL_URI names can't be found or fetched.",
    "model-refused": "The model that MODEL_URI names is damaged or did not pass its self-test.",
    "disk-failed": "The model can't be read or stored.",
}
"""What is told about a model that is not served, by its code."""


class ModelProblem(NamedTuple):
    """Why a model is not served; the log says more.

    Attributes:
        code: one of `SENTENCES`.
        reason: for the log; it may name files and addresses.
    """

    code: str
    reason: str

    def __str__(self) -> str:
        """Return what everybody may know."""
        return f"{self.code}: {SENTENCES[self.code]}"


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
        self._found = False
        self.model: Model | None = None
        self.problem: ModelProblem | None = None

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
            problem = self._problem(error)
            if problem != self.problem:
                log.error("model refused", extra=problem._asdict())
            self.problem = problem

    def _problem(self, error: Exception) -> ModelProblem:
        if isinstance(error, OSError):
            self._seen = None  # a disk that is full or fails may not be so next time
            code = "disk-failed"
        else:
            code = "model-refused" if self._found else "model-not-found"
        return ModelProblem(code, masked(str(error), self._settings.mlflow_tracking_uri))

    def _take_what_is_new(self) -> None:
        address = self._settings.model_uri
        store = self._settings.mlflow_tracking_uri
        state = source_state(address, store)
        if state is not None and state == self._seen:
            return
        self._seen, self._found = None, False
        with tempfile.TemporaryDirectory(prefix="chestxray-") as temporary:
            known = self.model.info.sha256 if self.model else None
            folder, found = find_bundle(address, store, Path(temporary), known)
            self._seen, self._found = state, True  # what is refused from here on need not be asked for again
            registered = folder == Path(temporary)  # what is registered never changes; of a folder any file may
            same = self.model.bundle if self.model and registered and found["sha256"] == known else None
            self._take(found, same or open_tested(folder, self._settings.inference_threads))
        give_back_free_memory()
        self.problem = None

    def _take(self, found: Found, bundle: Bundle) -> None:
        info = ModelInfo.model_validate({**found, "synthetic": bundle.card.synthetic})
        if self.model is None or info != self.model.info:
            self.model = Model(info, bundle)
            log.info("model taken up", extra={"version": info.version, "sha256": info.sha256})
