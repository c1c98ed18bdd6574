"""Test a bundle before it is trusted with a request."""

from pathlib import Path

import numpy as np

from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import CARD, BundleError
from chestxray.inference.decisions import decide


def open_tested(folder: Path, threads: int) -> Bundle:
    """Open a bundle and run it once.

    Args:
        folder: holds `model.onnx` and `bundle.json`.
        threads: of inference; 0 takes all cores.

    Raises:
        BundleError: wrong digest, labels, shapes or numbers, tensors in other files, or ONNX Runtime refuses it.
        OSError: a file is there but can't be read.
    """
    try:
        bundle = Bundle(folder, threads)
        _test(bundle)
    except (BundleError, OSError):
        raise
    except Exception as error:  # ONNX Runtime has a class for each way to be wrong, without a common base
        raise BundleError(f"the model does not run: {error}") from error
    return bundle


def _test(bundle: Bundle) -> None:
    """Check one inference: the model's findings are the card's, finite numbers, and maps that add up to the logits."""
    card = bundle.card
    model = bundle.model
    if model.findings != card.findings:
        raise BundleError(f"{CARD} and {MODEL} disagree about the names or the order of the findings")
    if (card.size, card.input_size) != (model.size, model.input_size):
        raise BundleError(f"{CARD} and {MODEL} disagree about the size of the image")
    logits, maps, gate = model.outputs(np.full((1, card.size, card.size, 1), 128, np.uint8))
    if not logits.shape[-1] == maps.shape[-1] == len(card.findings):
        widths = f"{logits.shape[-1]} logits and {maps.shape[-1]} maps"
        raise BundleError(f"{MODEL} has {widths}, {CARD} {len(card.findings)} findings")
    if not np.allclose(maps.mean(axis=(1, 2)) + card.bias, logits, atol=1e-3):
        raise BundleError("the maps do not add up to the logits")
    if gate.shape != (1, len(model.input_gate.thresholds)) or not np.isfinite(gate).all():
        raise BundleError("the scores of the input gate are not finite, or not one for each threshold")
    for points in card.operating_points.values():
        for point in points:
            point.predictive_values()  # raises for shares that no answer can be made of
    decide(bundle.platt.probabilities(logits), bundle.thresholds, card.status)  # raises for what is not finite
