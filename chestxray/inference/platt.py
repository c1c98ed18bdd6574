"""Turn logits into calibrated probabilities by Platt scaling: the curves that travel with a bundle."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from chestxray.labels import Floats, check_scores

KEYS = ("slope", "intercept")


@dataclass(frozen=True, eq=False)
class Platt:
    """Hold one logistic curve per finding: `p = sigmoid(slope * logit + intercept)`.

    Attributes:
        findings: names of the k curves.
        slope: `(k,)` float64, positive, so the order of images (AUROC) never turns over.
        intercept: `(k,)` float64, log odds.

    Raises:
        ValueError: another shape, a value that is not finite, a slope that is not positive.

    Example:
        >>> float(Platt.identity(["Tuberculosis"]).probabilities([[0.0]])[0, 0])
        0.5
    """

    findings: Sequence[str]
    slope: Floats
    intercept: Floats

    def __post_init__(self) -> None:
        """Check the numbers: they may come from a file."""
        for name in KEYS:
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (len(self.findings),):
                raise ValueError(f"Platt {name} must be {len(self.findings)} numbers, got the shape {values.shape}")
            if not np.isfinite(values).all():
                place = np.flatnonzero(~np.isfinite(values))[0]
                raise ValueError(f"Platt {name} must be finite, got {values[place]} for finding {place + 1}")
            object.__setattr__(self, name, values)
        if (self.slope <= 0).any():
            raise ValueError(f"Platt slopes must be positive, got {self.slope.min()}: it would turn the ranking over")

    @classmethod
    def identity(cls, findings: Sequence[str]) -> Self:
        """Return the plain sigmoid: what a logit means before calibration."""
        return cls(findings, np.ones(len(findings)), np.zeros(len(findings)))

    def probabilities(self, logits: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Calibrate.

        Args:
            logits: `(n, k)`, any finite value.

        Returns:
            `(n, k)` float32, strictly between 0 and 1.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        log_odds = self.slope * check_scores(logits, "logits", self.findings) + self.intercept
        exact = np.exp(-np.logaddexp(0.0, -log_odds))  # the sigmoid, exact in both tails and without overflow
        single = np.finfo(np.float32)
        return np.clip(exact.astype(np.float32), single.tiny, np.float32(1) - single.epsneg)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return the curves by finding, for JSON; `from_dict` gives the same numbers back, to the bit."""
        return {
            name: {"slope": float(slope), "intercept": float(intercept)}
            for name, slope, intercept in zip(self.findings, self.slope, self.intercept, strict=True)
        }

    @classmethod
    def from_dict(cls, curves: Mapping[str, Mapping[str, Any]], findings: Sequence[str]) -> Self:
        """Read what `to_dict` wrote.

        Args:
            curves: by finding, in any order.
            findings: names of the columns, in their order.

        Raises:
            ValueError: a finding or a number is missing, unknown or out of range.
        """
        if set(curves) != set(findings):
            raise ValueError(f"calibration must name the {len(findings)} findings of the model, it names {len(curves)}")
        numbers = [_curve(curves[name], place) for place, name in enumerate(findings)]
        return cls(findings, *np.array(numbers, np.float64).T)


def _curve(curve: object, place: int) -> list[float]:
    """Return slope and intercept as they stand in a file: finite numbers, and neither text nor truth values."""
    values = [curve[key] for key in KEYS] if isinstance(curve, Mapping) and set(curve) == set(KEYS) else []
    if not values or not all(type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values):
        raise ValueError(
            f"calibration of finding {place + 1} needs a finite number as slope, one as intercept, and nothing else"
        )
    return values
