"""Choose coordinates in which the head's objective curves about alike in all directions, so that few steps minimise it.

See docs/decisions/linear-head.md.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]


class Curvature:
    """About how the objective curves, in the coordinates of `HeadObjective`.

    Its Hessian is taken as if each finding had one probability, that of its prevalence, in all images. Then that of a
    finding is the curvature of its loss times the correlations of the features, plus λ; in the direction in which the
    weights of all k findings change alike, the first term is 1 + kρ times as much.

    Args:
        correlations: `(F, F)` of the features.
        of_loss: `(k,)`, curvature of the loss of each finding.
        shared: `(groups,)`, ρ of each group.
    """

    def __init__(self, correlations: Floats, of_loss: Floats, shared: Floats) -> None:
        with threadpool_limits(1, user_api="blas"):
            values, self._vectors = np.linalg.eigh(correlations)
        self._values = np.maximum(values, 0)
        self._of_loss = of_loss
        self._together = 1 + shared * len(of_loss)

    def coordinates(self, l2: float) -> "Coordinates":
        """Return coordinates in which the objective curves about alike in all directions, for one λ."""
        findings = len(self._of_loss)
        alone = self._values[:, None, None] * self._of_loss + l2
        mean = self._values[:, None] * self._of_loss.mean()
        together = np.sqrt((mean + l2) / (mean * self._together + l2))[..., None]
        return Coordinates(self._vectors, np.sqrt(findings / alone), together, np.sqrt(findings / self._of_loss))


@dataclass(frozen=True)
class Coordinates:
    """Coordinates that L-BFGS works in, so that it needs a fifth of the steps: preconditioning.

    They are a change of variables by about the inverse square root of the Hessian (Nocedal and Wright, Numerical
    Optimization, 2006, chapter 5), in the basis of the correlations' eigenvectors.

    Attributes:
        vectors: `(F, F)`, the eigenvectors, a column each.
        alone: `(F, 1, k)`, what the part of each eigenvector and finding is multiplied by.
        together: `(F, groups, 1)`, what the mean over findings is multiplied by besides.
        bias: `(k,)`, the same of the biases.
    """

    vectors: Floats
    alone: Floats
    together: Floats
    bias: Floats

    def weights(self, here: Floats) -> Floats:
        """Return weights, (F + 1) × groups × k, by their coordinates."""
        turned = self._turn(self.vectors, self.alone * _stretch(here[:-1], self.together))
        return np.concatenate([turned, here[-1:] * self.bias])

    def gradient(self, there: Floats) -> Floats:
        """Return the derivative by the coordinates, by that by the weights."""
        turned = _stretch(self.alone * self._turn(self.vectors.T, there[:-1]), self.together)
        return np.concatenate([turned, there[-1:] * self.bias])

    def of(self, weights: Floats) -> Floats:
        """Return the coordinates of weights."""
        turned = _stretch(self._turn(self.vectors.T, weights[:-1]) / self.alone, 1 / self.together)
        return np.concatenate([turned, weights[-1:] / self.bias])

    @staticmethod
    def _turn(basis: Floats, columns: Floats) -> Floats:
        return np.asarray(basis @ columns.reshape(len(columns), -1)).reshape(columns.shape)


def _stretch(values: Floats, together: Floats) -> Floats:
    """Multiply what all findings have in common, their mean, and leave alone by how much they differ from it."""
    return np.asarray(values + (together - 1) * values.mean(axis=-1, keepdims=True))
