"""Run `model.onnx` in ONNX Runtime: raw grey pixels in; logits, heatmaps and gate scores out."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from chestxray.errors import UserError
from chestxray.inference.input_gate import InputGate

NO_OTHER_FILES = "session.model_external_initializers_file_folder_path"
"""Where ONNX Runtime looks for tensors that a model keeps in other files, which its digest does not cover. Unset, that
is the working directory; below a device there is no file, so such a model is refused."""

SPIN = ("session.intra_op.spin_duration_us", "20")
"""Threads of inference wait awake for the next operator, but not for the next image: see
docs/decisions/thread-pool.md."""

Single = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """What the model computes for N images.

    Attributes:
        logits: float32 N × k.
        maps: parts of the logits, float32 N × h × w × k.
        gate: scores of the input gate, float32 N × G; N × 0 of a model that has none.
    """

    logits: Single
    maps: Single
    gate: Single


class OnnxModel:
    """`model.onnx` in ONNX Runtime.

    Args:
        model: the file, or its bytes.
        threads: of inference; 0 takes all cores.

    Attributes:
        findings: names of the columns.
        size: side of the image that it takes, in pixels.
        input_size: side of its central square, which the network sees and the maps cover.
        bias: of each finding: mean(map) + bias = logit.
        input_gate: names and thresholds of its gate scores; none in a model from before there were any.

    Raises:
        UserError: there is no such file, ONNX Runtime refuses it, or it does not say what it is.
    """

    def __init__(self, model: Path | bytes, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False  # saves no time that can be measured, and costs memory
        options.add_session_config_entry(NO_OTHER_FILES, os.devnull)
        options.add_session_config_entry(*SPIN)
        source = os.fspath(model) if isinstance(model, Path) else model
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class for each way to be wrong, without a common base
            raise UserError(f"the model can't be opened: {error}") from error
        self._session._model_bytes = None  # it keeps the file to open it anew with other hardware, which is not done
        facts = self._session.get_modelmeta().custom_metadata_map
        try:
            self.findings: tuple[str, ...] = tuple(json.loads(facts["findings"]))
            self.size: int = self._session.get_inputs()[0].shape[1]
            self.input_size: int = json.loads(facts["input_size"])
            self.bias: tuple[float, ...] = tuple(json.loads(facts["bias"]))
            self.input_gate = InputGate(*map(tuple, json.loads(facts.get("input_gate", "[]"))))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"the model does not say what it is: {error}") from error

    def logits(self, images: npt.NDArray[np.uint8]) -> Single:
        """Predict logits: uint8 N × S × S × 1 → float32 N × k."""
        return self._run(images, "logits")[0]

    def logits_and_gate(self, images: npt.NDArray[np.uint8]) -> tuple[Single, Single]:
        """Predict logits and gate scores: uint8 N × S × S × 1 → float32 N × k and N × G."""
        logits, gate = self._run(images, "logits", "gate")
        return logits, gate

    def outputs(self, images: npt.NDArray[np.uint8]) -> Outputs:
        """Compute all in one run: uint8 N × S × S × 1 → logits, maps and gate scores."""
        return Outputs(*self._run(images, "logits", "maps", "gate"))

    def _run(self, images: npt.NDArray[np.uint8], *names: str) -> list[Single]:
        """Compute outputs by their names; a model without a gate gives no scores, N × 0."""
        known = [name for name in names if name != "gate" or self.input_gate.names]
        found = dict(zip(known, self._session.run(known, {"image": images}), strict=True))
        none = np.zeros((len(images), 0), np.float32)
        return [np.asarray(found.get(name, none)) for name in names]
