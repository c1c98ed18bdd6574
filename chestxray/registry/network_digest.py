"""Tell whether two versions are the same network, however their files were written."""

import hashlib
from collections.abc import Sequence

import numpy as np

from chestxray.models.mobilenet_v2 import LayerWeights


def network_digest(weights: LayerWeights, findings: Sequence[str]) -> str:
    """Return the SHA-256, in hexadecimal, over the weights of a network and the names of its findings.

    Calibration, operating points and the input gate are no part of it.

    Args:
        weights: of the whole network, head included.
        findings: names of the head's columns.
    """
    digest = hashlib.sha256("\n".join(findings).encode())
    for name in sorted(weights):
        for array in weights[name]:
            digest.update(f"\n{name} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()
