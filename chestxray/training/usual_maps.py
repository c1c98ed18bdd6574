"""Average the maps of training images without a finding: less these, maps show what is unusual in an image.

A map's cell is a part of the logit. Less its mean over images without the finding, it is the cell's Shapley value for a
linear model with that background (Lundberg and Lee, NeurIPS 2017, corollary 1, for independent features), and the logit
is still the mean of the map plus a number: the mean logit of these images. See docs/decisions/usual-maps.md.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import Dataset
from chestxray.inference.onnx_model import OnnxModel
from chestxray.tracking.progress import progress

MAX_IMAGES = 1000
"""A mean of more is hardly another one."""


def usual_maps(model: OnnxModel, train: Dataset) -> npt.NDArray[np.float32]:
    """Average the maps of training images, of each finding over those labelled without it.

    Args:
        model: the finished network, whose maps are not compared with anything.
        train: the training images; of more than `MAX_IMAGES` so many are drawn by a hash.

    Returns:
        float32 h × w × k; zero for a finding that every one of the images has or nobody labelled.
    """
    images = _drawn(train)
    absent = images.labels == 0
    total: npt.NDArray[np.float64] | float = 0.0
    for image, without in zip(progress(images.chunks(1), "usual maps", len(absent)), absent, strict=True):
        total = total + model.outputs(image).maps[0].astype(np.float64) * without
    return np.asarray(total / np.maximum(absent.sum(axis=0), 1), np.float32)


def _drawn(train: Dataset) -> Dataset:
    """Draw at most `MAX_IMAGES` images by a hash of their pixels."""
    draws = train.studies["content_hash"].map(lambda name: hashlib.sha256(f"usual maps:{name}".encode()).hexdigest())
    chosen = np.sort(np.argsort(draws.to_numpy(str), kind="stable")[:MAX_IMAGES])
    return Dataset(train.studies.iloc[chosen].reset_index(drop=True), train.images)
