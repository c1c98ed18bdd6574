"""Run `model.onnx` in ONNX Runtime: raw grey pixels in, logits and heatmaps out."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from chestxray.errors import UserError

NO_OTHER_FILES = "session.model_external_initializers_file_folder_path"
"""Where ONNX Runtime looks for tensors that a model keeps in other files, which its digest does not cover. Unset, that
is the working directory; below a device there is no file, so such a model is refused."""

Single = npt.NDArray[np.float32]


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

    Raises:
        UserError: there is no such file, or ONNX Runtime refuses it.
    """

    def __init__(self, model: Path | bytes, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry(NO_OTHER_FILES, os.devnull)
        source = os.fspath(model) if isinstance(model, Path) else model
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class for each way to be wrong, without a common base
            raise UserError(f"the model can't be opened: {error}") from error
        facts = self._session.get_modelmeta().custom_metadata_map
        self.findings: tuple[str, ...] = tuple(json.loads(facts["findings"]))
        self.size: int = self._session.get_inputs()[0].shape[1]
        self.input_size: int = json.loads(facts["input_size"])
        self.bias: tuple[float, ...] = tuple(json.loads(facts["bias"]))

    def logits(self, images: npt.NDArray[np.uint8]) -> Single:
        """Predict logits: uint8 N × S × S × 1 → float32 N × k."""
        (logits,) = self._session.run(["logits"], {"image": images})
        return np.asarray(logits)

    def logits_and_maps(self, images: npt.NDArray[np.uint8]) -> tuple[Single, Single]:
        """Predict logits and maps: uint8 N × S × S × 1 → float32 N × k and N × h × w × k."""
        logits, maps = self._session.run(["logits", "maps"], {"image": images})
        return np.asarray(logits), np.asarray(maps)
