"""Define the scores by which a model says that an image is unlike the radiographs that it was trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNLIKE_TRAINING = "unlike-training"
"""The logarithm of a squared distance from the training images; the other scores are log odds of a kind of image."""
NOT_A_CHEST = "not-a-chest"


@dataclass(frozen=True)
class InputGate:
    """The scores that a model gives an image, and from which value on each speaks against it; none in an older model.

    Attributes:
        names: of the scores.
        thresholds: of each.
    """

    names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()

    def reached(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Say which scores reach their thresholds: float32 N × G → bool N × G. What is no number does."""
        return np.asarray(~(scores < np.array(self.thresholds, np.float32)))
