"""Say by a model's gate scores whether an image is unlike the radiographs that the model was trained on.

The scores are an output of `model.onnx`, from the features that its own head sees; `chestxray.training.input_gate` fits
them. See docs/decisions/input-gate.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chestxray.imaging.radiograph import Check

UNLIKE_TRAINING = "unlike-training"
SENTENCES = {
    "inverted": "It looks as if bone were dark and air bright; turn the grey levels over.",
    "upside-down": "It looks upside down; turn it by 180°.",
    "sideways": "It looks turned by 90°; turn it upright.",
    "not-a-chest": "It does not look like a frontal chest radiograph.",
    UNLIKE_TRAINING: "It is unlike the frontal chest radiographs that the model was trained on.",
}
"""By the name of a score, what a value from its threshold on says."""
PHANTOMS = "It is unlike the phantoms that the model was trained on."


@dataclass(frozen=True)
class InputGate:
    """The scores that a model gives an image, and from which value on each speaks against it.

    Attributes:
        names: of the scores; those of `SENTENCES`.
        thresholds: in the unit of the scores: standard deviations of good radiographs, above their mean.
    """

    names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()

    def checks(self, scores: npt.NDArray[np.float32], synthetic: bool) -> list[Check]:
        """Return what the scores of one image make doubtful or pointless.

        Args:
            scores: one for each name.
            synthetic: whether the model was trained on phantoms: then nothing is refused, since a real radiograph is
                unlike a phantom too.
        """
        rows = zip(self.names, scores.tolist(), self.thresholds, strict=True)
        reached = [(name, score, threshold) for name, score, threshold in rows if not score < threshold]
        return [
            Check(name, "warned" if synthetic else "refused", _sentence(name, synthetic), score, threshold)
            for name, score, threshold in reached
        ]


def names_reached(checks: Sequence[Check]) -> str:
    """Return the names of checks, for a table."""
    return " ".join(check.name for check in checks)


def _sentence(name: str, synthetic: bool) -> str:
    """Say what the score `name` found."""
    if not synthetic:
        return SENTENCES.get(name, SENTENCES[UNLIKE_TRAINING])
    return PHANTOMS if name not in SENTENCES or name == UNLIKE_TRAINING else f"{PHANTOMS} {SENTENCES[name]}"
