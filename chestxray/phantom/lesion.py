"""Describe one finding in one study, and draw the shapes that signs and mimics share."""

from dataclasses import dataclass, replace

import numpy as np

from chestxray.phantom.canvas import Array, ramp
from chestxray.phantom.chest import Chest, branches


@dataclass(frozen=True)
class Lesion:
    """One finding in one study.

    Attributes:
        side: of the patient, where the finding has one; -1 right, +1 left.
        strength: conspicuity in 0..1, from hardly visible to unmistakable.
        variant: in 0..1, which of the finding's appearances.
        seed: of its details; the same at every follow-up of a patient.
    """

    side: int
    strength: float
    variant: float
    seed: int

    def rng(self) -> np.random.Generator:
        """Return a new generator of this lesion's details."""
        return np.random.default_rng(self.seed)

    def between(self, subtle: float, obvious: float) -> float:
        """Interpolate from `subtle` at strength 0 to `obvious` at strength 1."""
        return subtle + self.strength * (obvious - subtle)


def side_mask(chest: Chest, side: int) -> Array:
    """Return the inside of one half of the chest, 0..1."""
    return ramp(chest.rim[side], 0, 0.15)


def patches(chest: Chest, rng: np.random.Generator, spots: list[tuple[float, float]], radius: float) -> Array:
    """Draw soft clouds with ragged edges around `spots`, 0..1."""
    cloud = np.zeros_like(chest.lung)
    for spot in spots:
        radii = (radius * rng.uniform(0.7, 1.1), radius * rng.uniform(0.8, 1.3))
        cloud = np.maximum(cloud, chest.canvas.ellipse(spot, radii, rng.uniform(0, 180), radius * 1.3))
    return cloud


def air_bronchogram(chest: Chest, side: int, rng: np.random.Generator) -> Array:
    """Draw air in the branches of the bronchi, visible where the lung around them is opaque; 0..1."""
    root = (side * 2.8 + chest.anatomy.shift, chest.anatomy.hilum)
    plain = replace(chest.anatomy, vessels=1.0, upper_vessels=1.0)
    paths, widths = branches(rng, root, side, plain, generations=3)
    return chest.canvas.blur(chest.canvas.stroke(paths, [0.8 * w for w in widths], [1.0] * len(paths)), 0.06)


def round_opacity(chest: Chest, centre: tuple[float, float], diameter: float, rng: np.random.Generator) -> Array:
    """Draw a rounded, slightly lobulated lesion of a given diameter in centimetres, 0..1."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    lobes = [rng.normal(0, 0.045) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)]
    radius = diameter / 2 * (1 + np.sum(lobes, axis=0))
    outline = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + centre
    return chest.canvas.fill(outline, softness=0.06 * diameter)
