"""Say by a model's scores which images are unlike those that it was trained on (out-of-distribution detection)."""

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNLIKE_TRAINING = "unlike-training"
"""The logarithm of a squared distance from the training images; the other scores are log odds of a kind of image."""
INVERTED = "inverted"
UPSIDE_DOWN = "upside-down"
SIDEWAYS = "sideways"
NOT_A_CHEST = "not-a-chest"


@dataclass(frozen=True)
class InputGate:
    """The scores that a model gives an image, and from which value on each speaks against it; none in an older model.

    Attributes:
        names: of the scores.
        thresholds: of each.

    Raises:
        ValueError: a threshold is not a finite number, or there is not one for each name; they come from a file.
    """

    names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the thresholds: one of infinity would refuse nothing, and say nothing of it."""
        if len(self.names) != len(self.thresholds) or not all(isinstance(name, str) for name in self.names):
            raise ValueError(f"the input gate has {len(self.names)} names and {len(self.thresholds)} thresholds")
        for place, value in enumerate(self.thresholds):
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
                raise ValueError(f"threshold {place + 1} of the input gate must be a finite number")

    def found(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Say which scores speak against an image: the distance, and of the kinds that reach theirs, the likeliest.

        Args:
            scores: float32 N × G. What is no number reaches every threshold.

        Returns:
            bool N × G; an image is refused where any is true.
        """
        reached = ~(scores < np.array(self.thresholds, np.float32))
        kinds = reached & (np.array(self.names) != UNLIKE_TRAINING)
        ranked = np.where(kinds, np.nan_to_num(scores, nan=np.inf), -np.inf)
        if not self.names:
            return reached
        likeliest = np.arange(len(self.names)) == ranked.argmax(axis=1)[:, None]
        return np.asarray(reached & (likeliest | ~kinds))
