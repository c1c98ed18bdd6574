"""Predict the findings of one file: from its bytes to calibrated probabilities, decisions and maps."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.imaging.decode import decode
from chestxray.imaging.quality import check_accepted, quality_checks
from chestxray.imaging.radiograph import Check, Radiograph, resize
from chestxray.inference.bundle import Bundle
from chestxray.inference.decisions import Thresholds, decide, decided
from chestxray.inference.gate_checks import gate_checks


@dataclass(frozen=True)
class FilePrediction:
    """What a model predicts for a file.

    Attributes:
        radiograph: that was in it.
        checks: what makes the answer doubtful, or pointless.
        probabilities: of the findings, calibrated, float32, k; what each may be called is said by its status.
        thresholds: by which they were decided on.
        decided: whether there is a decision, bool, k.
        decisions: whether it is positive, bool, k; false where nothing is decided.
        maps: parts of the logits, float32, h × w × k.
        decode_seconds: that decoding took.
        inference_seconds: that the model took.
    """

    radiograph: Radiograph
    checks: list[Check]
    probabilities: npt.NDArray[np.float32]
    thresholds: Thresholds
    decided: npt.NDArray[np.bool_]
    decisions: npt.NDArray[np.bool_]
    maps: npt.NDArray[np.float32]
    decode_seconds: float
    inference_seconds: float


def predict_file(
    bundle: Bundle, data: bytes, max_pixels: int, thresholds: Thresholds, accept_anyway: bool = False
) -> FilePrediction:
    """Decode a file and predict.

    Args:
        bundle: the model.
        data: the whole file.
        max_pixels: the most to accept.
        thresholds: to decide by, as `choose_thresholds` gives them.
        accept_anyway: predict even if a check refuses the image.

    Raises:
        RadiographError: the file can't be used.
    """
    start = time.perf_counter()
    radiograph = decode(data, max_pixels)
    checks = quality_checks(radiograph, bundle.card.size)
    if not accept_anyway:
        check_accepted(checks)
    pixels = resize(radiograph.pixels, bundle.card.size)
    decoded = time.perf_counter()
    probabilities, maps, (scores,) = bundle.predict_with_gate(pixels[None, ..., None])
    checks += gate_checks(bundle.model.input_gate, scores, bundle.card.synthetic)
    if not accept_anyway:
        check_accepted(checks)
    predicted = time.perf_counter()
    status = bundle.card.status
    return FilePrediction(
        radiograph=radiograph,
        checks=checks,
        probabilities=probabilities[0],
        thresholds=thresholds,
        decided=decided(thresholds.values, status, thresholds.asked),
        decisions=decide(probabilities, thresholds.values, status, thresholds.asked)[0],
        maps=maps[0],
        decode_seconds=decoded - start,
        inference_seconds=predicted - decoded,
    )
