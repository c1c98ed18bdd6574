"""A model reads a file: from its bytes to calibrated probabilities, calls and maps."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.imaging.decode import decode
from chestxray.imaging.quality import check_plausible, image_warnings
from chestxray.imaging.radiograph import Radiograph, resize
from chestxray.inference.bundle import Bundle


@dataclass(frozen=True)
class FilePrediction:
    """What a model says of a file.

    Attributes:
        radiograph: that was in it.
        doubts: what a reader of the answer should know, in words.
        probabilities: of the findings, calibrated, float32, 14.
        thresholds: from which on each is called, float64, 14.
        positive: whether it is, bool, 14.
        maps: parts of the logits, float32, h × w × 14.
        decode, inference: seconds that these took.
    """

    radiograph: Radiograph
    image_warnings: list[str]
    probabilities: npt.NDArray[np.float32]
    thresholds: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]
    maps: npt.NDArray[np.float32]
    decode: float
    inference: float


def predict_file(bundle: Bundle, data: bytes, max_pixels: int, threshold: float | None = None) -> FilePrediction:
    """Decodes a file and predicts.

    Args:
        bundle: which model reads.
        data: the whole file, as a stranger sent it.
        max_pixels: the most to accept.
        threshold: instead of the operating point of every finding, 0–1.

    Raises:
        RadiographError: the file can't be used.
    """
    start = time.perf_counter()
    radiograph = decode(data, max_pixels)
    check_plausible(radiograph)
    pixels = resize(radiograph.pixels, bundle.card.size)
    decoded = time.perf_counter()
    (probabilities,), (maps,) = bundle.predict(pixels[None, ..., None])
    inferred = time.perf_counter()
    thresholds = bundle.thresholds if threshold is None else np.full_like(bundle.thresholds, threshold)
    return FilePrediction(
        radiograph=radiograph,
        image_warnings=image_warnings(radiograph, bundle.card.size),
        probabilities=probabilities,
        thresholds=thresholds,
        positive=probabilities >= thresholds,
        maps=maps,
        decode=decoded - start,
        inference=inferred - decoded,
    )
