"""Open a bundle, `model.onnx` and `bundle.json`, and predict with it: no TensorFlow is needed."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chestxray.errors import one_line
from chestxray.inference.card import CARD, BundleError, Card, read_card
from chestxray.inference.onnx_model import OnnxModel, Single
from chestxray.inference.platt import Platt
from chestxray.system.regular_file import read_regular

MODEL = "model.onnx"


class Bundle:
    """An opened bundle: from prepared images to calibrated probabilities and maps.

    Args:
        folder: holds `model.onnx` and `bundle.json`.
        threads: of inference; 0 takes all cores.

    A pickled one holds the model, so that it can be opened where there is no such folder.

    Attributes:
        card: content of `bundle.json`.
        model: `model.onnx`, opened.
        platt: the calibration.
        thresholds: of the operating point that decides, float64, k; NaN where there is none.

    Raises:
        BundleError: a file is missing or damaged.
        OSError: a file is there but can't be read.

    Example:
        >>> from chestxray.imaging.decode import decode
        >>> from chestxray.imaging.radiograph import resize
        >>> bundle = Bundle(bundle_folder)
        >>> pixels = resize(decode(radiograph_file.read_bytes()).pixels, bundle.card.size)
        >>> probabilities, maps = bundle.predict(pixels[None, ..., None])
        >>> probabilities.shape
        (1, 14)
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        try:
            card = read_card(folder / CARD)
            model = read_regular(folder / MODEL)
        except (FileNotFoundError, BundleError) as error:
            raise BundleError(f"{folder} is not a bundle: {one_line(error)}") from error
        self._open(card, model, threads)
        self._source = (folder, threads)

    def _open(self, card: Card, model: bytes, threads: int) -> None:
        self.card = card
        self.platt = Platt.from_dict(card.calibration, card.findings)
        digest = hashlib.sha256(model).hexdigest()
        if digest != card.model_sha256:
            raise BundleError(f"{MODEL} has SHA-256 {digest}, {CARD} says {card.model_sha256}")
        self.model = OnnxModel(model, threads)
        self.thresholds = card.thresholds()

    def __getstate__(self) -> tuple[Card, bytes, int]:
        folder, threads = self._source
        return self.card, read_regular(folder / MODEL), threads

    def __setstate__(self, state: tuple[Card, bytes, int]) -> None:
        self._open(*state)

    def predict(self, images: npt.NDArray[np.uint8]) -> tuple[Single, Single]:
        """Predict calibrated probabilities and maps.

        Args:
            images: uint8 N × S × S × 1.

        Returns:
            float32 N × k in 0–1, and float32 N × h × w × k (parts of the logit, before calibration). All columns are
            filled: what may be shown of a finding is said by `card.status`.
        """
        probabilities, maps, _ = self.predict_with_gate(images)
        return probabilities, maps

    def predict_with_gate(self, images: npt.NDArray[np.uint8]) -> tuple[Single, Single, Single]:
        """Predict as `predict` does, and score in the same run how far the images are from those trained on.

        Args:
            images: uint8 N × S × S × 1.

        Returns:
            probabilities and maps, and the scores of `model.input_gate`, float32 N × G, from which
            `chestxray.inference.gate_checks.gate_checks` makes checks; N × 0 of a model without a gate.
        """
        logits, maps, gate = self.model.outputs(images)
        return self.platt.probabilities(logits), maps, gate
