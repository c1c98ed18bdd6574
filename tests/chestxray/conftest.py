"""A tiny network that all tests of the model share."""

import numpy as np
import pytest

from chestxray.backbone import load_weights
from chestxray.mobilenet import LayerWeights, blocks
from chestxray.network import HEAD
from chestxray.params import BackboneParams

TINY = BackboneParams(weights="random", alpha=0.35, input_size=64, seed=5)


def lively_weights(params: BackboneParams) -> LayerWeights:
    """Random weights with a head, and with statistics of batch normalisation as training would leave them."""
    rng, weights = np.random.default_rng(7), load_weights(params)
    for convolution in (c for block in blocks(params.alpha) for c in block.convolutions):
        n = convolution.filters
        statistics = (rng.uniform(0.5, 1.5, n), rng.normal(0, 0.2, n), rng.normal(0, 0.2, n), rng.uniform(0.3, 2, n))
        weights[convolution.batch_norm] = [array.astype(np.float32) for array in statistics]
    weights[HEAD] = [rng.normal(0, 0.05, (1280, 14)).astype(np.float32), rng.normal(0, 1, 14).astype(np.float32)]
    return weights


@pytest.fixture(scope="session")
def tiny_weights() -> LayerWeights:
    return lively_weights(TINY)
