"""Define the input gate: the scores that say by its features whether an image is unlike the training images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Single = npt.NDArray[np.float32]

SMALLEST_ENERGY = 1e-6
"""Below it a distance is rounding."""


@dataclass(frozen=True)
class GateWeights:
    """A distance from the training images in a subspace and out of it, and log odds of some kinds of images.

    With the standardised features x = (f − mean) / deviation and their projection z = xV, the distance is
    ln(Σ (z / spread)² / K + (‖x‖² − ‖z‖²) / residual), as of a Gaussian whose variance is the same in every direction
    out of the subspace (Tipping and Bishop, Journal of the Royal Statistical Society B 61, 1999, up to constants). The
    log odds are xW + b, against an upright frontal radiograph.

    Attributes:
        names: of the G scores, the distance first.
        thresholds: of the scores, float32, G.
        mean: of the features, float32, F.
        deviation: of the features, float32, F.
        components: V, orthonormal columns, float32 F × K.
        spread: standard deviation of z, float32, K.
        residual: mean of ‖x‖² − ‖z‖².
        odds: W, float32 F × (G − 1).
        odds_bias: b, float32, G − 1.
    """

    names: tuple[str, ...]
    thresholds: Single
    mean: Single
    deviation: Single
    components: Single
    spread: Single
    residual: float
    odds: Single
    odds_bias: Single

    def scores(self, features: Single) -> Single:
        """Compute the scores as the ONNX graph does: pooled features float32 N × F → float32 N × G."""
        x = (features - self.mean) / self.deviation
        z = x @ self.components
        outside = np.maximum((x**2).sum(axis=1) - (z**2).sum(axis=1), SMALLEST_ENERGY)
        distance = np.log(((z / self.spread) ** 2).mean(axis=1) + outside / self.residual)
        return np.column_stack([distance, x @ self.odds + self.odds_bias]).astype(np.float32)
