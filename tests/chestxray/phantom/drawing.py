"""Build chests, lesions and patients for the tests of phantoms."""

import numpy as np

from chestxray.params import PhantomParams, PhantomUpdateParams
from chestxray.phantom.anatomy import RIGHT, Anatomy, sample_anatomy
from chestxray.phantom.canvas import Canvas
from chestxray.phantom.chest import Chest, Shadow, draw_chest
from chestxray.phantom.lesion import Lesion
from chestxray.phantom.signs import SIGNS

UPDATE = PhantomUpdateParams(studies=30, patients=16, returning=8, portable=0.7, exposure=-0.1, prevalence=0.5)
TINY = PhantomParams(studies=40, patients=25, size=64, difficulty=0.5, shortcut=0.0, seed=3, update=UPDATE)


def anatomy(seed: int, sex: str = "M", age: int = 50) -> Anatomy:
    return sample_anatomy(np.random.default_rng(seed), sex, age)


def upright(size: int = 160) -> Canvas:
    return Canvas.posed(size, zoom=1.0, degrees=0.0, shift=(0.0, 0.0))


def lesion(side: int = RIGHT, strength: float = 0.8, variant: float = 0.2, seed: int = 11) -> Lesion:
    return Lesion(side, strength, variant, seed)


def with_sign(finding: str, what: Lesion, seed: int = 1, size: int = 160) -> tuple[Chest, Shadow]:
    chest = draw_chest(upright(size), SIGNS[finding].deform(anatomy(seed), what))
    return chest, SIGNS[finding].cast(chest, what)
