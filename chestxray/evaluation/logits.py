"""Predict the logits of a data set, one image after the other, as the service does."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.inference.onnx_model import OnnxModel, Single
from chestxray.tracking.progress import progress


def predict_logits(model: OnnxModel, images: Dataset, what: str) -> Single:
    """Predict the logits of at least one image; those of an image are the same whatever others are predicted with it.

    Args:
        model: that predicts.
        images: N of the size that it takes.
        what: is being done, such as "predicting test", for the progress.

    Returns:
        float32 N × k.
    """
    return np.concatenate([model.logits(image) for image in one_by_one(images, what)])


def predict_logits_and_gate(model: OnnxModel, images: Dataset, what: str) -> tuple[Single, Single]:
    """Predict the logits and the gate scores of at least one image, as `predict_logits` does.

    Returns:
        float32 N × k and N × G.
    """
    logits, gate = zip(*(model.logits_and_gate(image) for image in one_by_one(images, what)), strict=True)
    return np.concatenate(logits), np.concatenate(gate)


def one_by_one(images: Dataset, what: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield one image at a time, 1 × S × S × 1.

    Activations of eight don't fit the processor's cache, and took 9 to 20 % longer, for the same logits.
    """
    return progress(images.chunks(1), what, len(images.studies))


def prepared_hashes(images: Dataset) -> pd.Index:
    """Return the SHA-256 of the prepared pixels of each image, N."""
    pixels = (images.pixels(row).tobytes() for row in range(len(images.studies)))
    return pd.Index([hashlib.sha256(image).hexdigest() for image in pixels], dtype="str")


def logits_frame(hashes: pd.Index, logits: Single, findings: Sequence[str]) -> pd.DataFrame:
    """Tabulate logits by content hash and finding; an image that is there twice has one row."""
    return pd.DataFrame(logits, hashes, list(findings))[~hashes.duplicated()]
