"""Shuffle the weights of an exported model: a map that looks no different then does not come from what was learned.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018 (randomisation of the model's parameters).
"""

import numpy as np
import onnx
from onnx import numpy_helper

USUAL_MAPS = "usual_maps"
"""Name of the tensor that a model takes off its maps."""
NORMALISATION = ("scale", "offset")
"""Names of those by which it makes grey levels what the network was made for."""


def shuffle_weights(model: bytes, seed: int) -> bytes:
    """Permute the numbers within each weight tensor of a model, so that each keeps its distribution.

    What is usual for the model's maps is not for those of the shuffled one, which are left as they are.

    Args:
        model: a `model.onnx`.
        seed: of the permutations.

    Returns:
        The model with the same graph, vectors (biases, statistics) and names, and other weights.
    """
    graph = onnx.load_from_string(model)
    generator = np.random.default_rng(seed)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in NORMALISATION and values.ndim > 1 and np.issubdtype(values.dtype, np.floating):
            shuffled = generator.permutation(values.ravel()).reshape(values.shape)
            if tensor.name == USUAL_MAPS:
                shuffled = np.zeros_like(values)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return bytes(graph.SerializeToString())
