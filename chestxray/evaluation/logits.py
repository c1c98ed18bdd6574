"""A data set through a network, a few images at a time."""

import hashlib

import numpy as np
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.findings import FINDINGS
from chestxray.inference.onnx_model import OnnxModel, Single
from chestxray.tracking.progress import progress

IMAGES_AT_ONCE = 8
"""64 are 5 % faster and take eight times the memory; the logits are the same."""


def predict_logits(network: OnnxModel, images: Dataset, what: str) -> Single:
    """Logits of at least one image, float32 N × 14, of each the same whatever goes with it; says how far it is.

    Args:
        network: the model.
        images: N of the size that it takes.
        what: is being done, such as "predicting test".
    """
    total = -(-len(images.studies) // IMAGES_AT_ONCE)
    chunks = progress(images.chunks(IMAGES_AT_ONCE), what, total, f"batch of {IMAGES_AT_ONCE} image")
    return np.concatenate([network.logits(chunk) for chunk in chunks])


def content_hashes(images: Dataset) -> pd.Index:
    """The SHA-256 of the prepared pixels of each image, N."""
    pixels = (images.pixels(row).tobytes() for row in range(len(images.studies)))
    return pd.Index([hashlib.sha256(image).hexdigest() for image in pixels], dtype="str")


def logits_frame(names: pd.Index, logits: Single) -> pd.DataFrame:
    """What a model says, by the name of the image and by finding; an image that is there twice has one row."""
    return pd.DataFrame(logits, names, list(FINDINGS))[~names.duplicated()]
