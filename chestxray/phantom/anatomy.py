"""Measure one phantom patient's chest, and derive the outlines of its organs.

Centimetres in the plane of `chestxray.phantom.canvas`. Proportions are those of textbook frontal radiographs
(cardiothoracic ratio below 0.5, right diaphragm one to two centimetres above the left, hila at half the height of the
lung).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from chestxray.phantom.canvas import Points, curve, mirror

RIGHT = -1
LEFT = 1
"""Sides of the patient, as signs of x: the patient's right is on the left of the image."""

BASE_OF_FIELD = 44.0
"""y of a line below the field, where outlines that leave it are closed."""


@dataclass(frozen=True)
class Anatomy:
    """Measures of one chest, in centimetres where no other unit is given.

    Attributes:
        half_width: half the inner width of the chest.
        apex: y of the apices of the lungs.
        dome_right: y of the top of the right diaphragm.
        dome_left: y of the top of the left diaphragm.
        dome_height: from the top of the diaphragm to its edge.
        heart_right: reach of the heart to the right of the midline.
        heart_left: reach to the left.
        shift: of the mediastinum to the left.
        knob: how far the aortic knob stands out.
        bulk: fatness, about standard normal.
        breast: size of the breasts, 0 for none.
        shoulder: how low the shoulders stand.
        scapula: how far the shoulder blades lie over the lungs.
        rib_slope: how steeply the ribs fall, 1 normal.
        bone: density of bone, 1 normal.
        aeration: of the lungs, 1 normal.
        vessels: width of the pulmonary vessels, 1 normal.
        upper_vessels: width of those above the hila relative to those below.
        stomach: air in it, 0..1.
        calcified_aorta: whether the aortic arch has a rim of chalk.
        seed: of the details.
    """

    half_width: float
    apex: float
    dome_right: float
    dome_left: float
    dome_height: float
    heart_right: float
    heart_left: float
    shift: float
    knob: float
    bulk: float
    breast: float
    shoulder: float
    scapula: float
    rib_slope: float
    bone: float
    aeration: float
    vessels: float
    upper_vessels: float
    stomach: float
    calcified_aorta: bool
    seed: int

    def dome(self, side: int) -> float:
        """Return y of the top of the diaphragm on `side`."""
        return self.dome_right if side == RIGHT else self.dome_left

    @property
    def cardiothoracic_ratio(self) -> float:
        """Width of the heart over the inner width of the chest."""
        return (self.heart_right + self.heart_left) / (2 * self.half_width)

    @property
    def hilum(self) -> float:
        """y of the hila."""
        return self.apex + 0.48 * (self.dome_right - self.apex)

    @property
    def arch(self) -> float:
        """y of the aortic knob."""
        return self.hilum - 3.2


def sample_anatomy(rng: np.random.Generator, sex: str, age: int) -> Anatomy:
    """Draw the anatomy of a healthy patient of this sex (M or F) and age (years)."""
    female = sex == "F"
    old = float(np.clip((age - 45) / 40, -0.7, 1.2))
    half_width = rng.normal(12.7 if female else 13.6, 0.5)
    dome_right = rng.normal(25.4, 0.8)
    heart = 2 * half_width * float(np.clip(rng.normal(0.425 + 0.015 * old, 0.025), 0.36, 0.475))
    right_share = rng.normal(0.34, 0.03)
    return Anatomy(
        half_width=half_width,
        apex=rng.normal(6.3, 0.5),
        dome_right=dome_right,
        dome_left=dome_right + rng.normal(1.2, 0.35),
        dome_height=rng.normal(4.0, 0.5),
        heart_right=heart * right_share,
        heart_left=heart * (1 - right_share),
        shift=rng.normal(0, 0.15),
        knob=float(np.clip(rng.normal(0.9 + 0.45 * old, 0.25), 0.3, 2.0)),
        bulk=float(np.clip(rng.normal(0.1, 0.9), -1.3, 2.4)),
        breast=float(np.clip(rng.normal(0.65, 0.3), 0.1, 1.2)) if female else 0.0,
        shoulder=rng.normal(0, 0.6),
        scapula=rng.normal(0, 0.6),
        rib_slope=float(np.clip(rng.normal(1.0, 0.15), 0.65, 1.4)),
        bone=float(np.clip(rng.normal(1.0 - 0.12 * old, 0.14), 0.55, 1.4)),
        aeration=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
        vessels=float(np.clip(rng.normal(1.0, 0.18), 0.6, 1.5)),
        upper_vessels=0.65,
        stomach=rng.uniform(0, 1),
        calcified_aorta=bool(age > 60 and rng.random() < 0.4),
        seed=int(rng.integers(2**31)),
    )


def breathe(anatomy: Anatomy, view: str, depth: float) -> Anatomy:
    """Return the chest as it stands for one exposure.

    Args:
        anatomy: the patient at full breath, standing, posteroanterior.
        view: `PA`, or `AP`: lying or sitting before a portable machine, which magnifies the heart, lifts the
            diaphragm and leaves the shoulder blades over the lungs.
        depth: 0 for a full breath, 1 for a shallow one, which lifts the diaphragm and widens the heart.
    """
    portable = view == "AP"
    lift = 2.0 * depth + 0.8 * portable
    swell = 1 + 0.07 * depth + 0.06 * portable
    return replace(
        anatomy,
        dome_right=anatomy.dome_right - lift,
        dome_left=anatomy.dome_left - lift,
        heart_right=anatomy.heart_right * swell,
        heart_left=anatomy.heart_left * swell,
        scapula=anatomy.scapula + 2.2 * portable,
        upper_vessels=anatomy.upper_vessels + 0.2 * portable,
        vessels=anatomy.vessels * (1 + 0.25 * depth),
        shoulder=anatomy.shoulder - 0.8 * portable,
    )


@lru_cache(maxsize=4)
def wall(a: Anatomy, side: int) -> Points:
    """Return the inner chest wall of `side`, from the apex outwards and down; y never falls."""
    w = a.half_width
    top = a.apex
    knots = [(4.2, 0.0), (6.2, 0.8), (8.3, 2.7), (10.4, 6.0), (12.0, 10.2), (13.0, 15.0), (13.6, 21.0), (13.4, 34.0)]
    return mirror(curve([(x * w / 13.6, top + y) for x, y in knots], 48), side)


def diaphragm(a: Anatomy, side: int) -> Points:
    """Return the diaphragm of `side`, from the midline outwards to beyond the costophrenic angle."""
    w = a.half_width
    top = a.dome(side)
    h = a.dome_height
    knots = [(-0.3, 0.55), (0.12, 0.25), (0.40, 0.0), (0.66, 0.12), (0.86, 0.46), (1.0, 1.0), (1.12, 1.8)]
    return mirror(curve([(x * w, top + y * h) for x, y in knots], 40), side)


@lru_cache(maxsize=4)
def mediastinum(a: Anatomy, side: int) -> Points:
    """Return the edge of the mediastinum and heart on `side`, downwards; y always grows."""
    top = a.apex
    hilum = a.hilum
    arch = a.arch
    if side == RIGHT:  # brachiocephalic vein, superior vena cava, right atrium
        upper = [(2.6, 0), (2.2, top), (2.1, top + 3.5), (2.5, hilum - 1.5), (2.9, hilum + 0.8)]
        heart = [(0.88, 0.22), (1.0, 0.55), (0.93, 0.85), (0.7, 1.1)]
    else:  # subclavian artery, aortic knob, pulmonary trunk, left ventricle
        upper = [(2.5, 0), (2.0, top), (1.9, top + 2.5), (2.1 + a.knob, arch), (2.7, arch + 2.0), (3.5, hilum + 0.5)]
        heart = [(0.58, 0.24), (0.83, 0.52), (0.97, 0.80), (1.0, 0.97), (0.85, 1.2)]
    width = a.heart_right if side == RIGHT else a.heart_left
    height = a.dome_left - hilum
    lower = [(max(x * width, 2.4), hilum + y * height) for x, y in heart]
    edge = mirror(curve([*upper, *lower, (1.5, a.dome_left + 6), (1.5, BASE_OF_FIELD)], 64), side)
    return np.asarray(edge + np.array([a.shift, 0.0]))


def belly_outline(a: Anatomy) -> Points:
    """Return the outline of everything below the diaphragm."""
    right = diaphragm(a, RIGHT)
    right = right[right[:, 0] < 0]
    left = diaphragm(a, LEFT)
    left = left[left[:, 0] > 0]
    return np.vstack([right[::-1], left, [(30, BASE_OF_FIELD), (-30, BASE_OF_FIELD)]])
