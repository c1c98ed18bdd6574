"""Say in sentences what the input gate of a model found in an image."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from chestxray.imaging.radiograph import Check
from chestxray.inference.input_gate import INVERTED, NOT_A_CHEST, SIDEWAYS, UNLIKE_TRAINING, UPSIDE_DOWN, InputGate

SENTENCES = {
    UNLIKE_TRAINING: "It is unlike the frontal chest radiographs that the model was trained on.",
    NOT_A_CHEST: "It does not look like a frontal chest radiograph.",
    INVERTED: "It looks inverted, with dark bone and bright air; turn the grey levels over.",
    UPSIDE_DOWN: "It looks upside down; turn it by 180°.",
    SIDEWAYS: "It looks as if it lay on its side; turn it by 90°.",
}
"""What a score that reaches its threshold says."""
PHANTOMS = "It is unlike the phantoms that the model was trained on."


def gate_checks(gate: InputGate, scores: npt.NDArray[np.float32], synthetic: bool) -> list[Check]:
    """Return what the gate found in one image: how far it is from the training images, and the likeliest of the kinds.

    Args:
        gate: of the model.
        scores: of the image, float32, one for each name of the gate; none without a gate.
        synthetic: whether the model was trained on phantoms. It then warns and refuses nothing, since a real radiograph
            is unlike a phantom too.
    """
    found = gate.found(scores[None])[0]
    verdict: Literal["warned", "refused"] = "warned" if synthetic else "refused"
    return [
        Check(gate.names[place], verdict, _sentence(gate.names[place], synthetic), float(scores[place]), limit)
        for place, limit in enumerate(gate.thresholds)
        if found[place]
    ]


def _sentence(name: str, synthetic: bool) -> str:
    """Say what the score `name` found."""
    said = SENTENCES.get(name, SENTENCES[UNLIKE_TRAINING])
    return PHANTOMS if synthetic and name == UNLIKE_TRAINING else said
