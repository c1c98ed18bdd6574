"""The sign of each finding is the textbook's."""

from dataclasses import replace

import numpy as np
import pytest

from chestxray.findings import FINDINGS
from chestxray.phantom.anatomy import LEFT, RIGHT
from chestxray.phantom.chest import absorption, draw_chest
from chestxray.phantom.lesion import Lesion
from chestxray.phantom.signs import SIGNS
from chestxray.phantom.study import box_around
from tests.chestxray.phantom.drawing import anatomy, lesion, upright, with_sign


def conspicuity(finding: str, what: Lesion) -> float:
    """How much the absorption differs from that of the same chest without the finding."""
    chest, shadow = with_sign(finding, what)
    return float(np.abs(absorption(chest, [shadow]) - absorption(draw_chest(upright(), anatomy(1)), [])).mean())


def test_every_finding_has_its_sign() -> None:
    assert tuple(SIGNS) == FINDINGS


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("variant", [0.2, 0.9])
def test_strength_makes_it_easier_to_see(finding: str, variant: float) -> None:
    faint, clear = (conspicuity(finding, lesion(strength=s, variant=variant)) for s in (0.15, 0.95))
    assert clear > 1.3 * faint > 0


@pytest.mark.parametrize("finding", ["Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"])
@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_its_box_is_on_its_side_and_covers_what_changed(finding: str, side: int) -> None:
    chest, shadow = with_sign(finding, lesion(side, variant=0.0))
    change = np.abs(absorption(chest, [shadow]) - absorption(chest, []))
    box = box_around(shadow.extent)
    assert box is not None
    x, y, w, h = box
    assert (x + w / 2 - 80) * side > 0
    assert change[y : y + h, x : x + w].mean() > 3 * change.mean()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_mass_is_three_centimetres_or_more_a_nodule_less(strength: float, seed: int) -> None:
    diameters = {}
    for finding in ("Mass", "Nodule"):
        chest, shadow = with_sign(finding, lesion(strength=strength, variant=0.0, seed=seed), size=320)
        assert shadow.extent is not None
        area = np.count_nonzero(shadow.extent > 0.5) / chest.canvas.scale**2
        diameters[finding] = 2 * np.sqrt(area / np.pi)
    assert diameters["Nodule"] < 3 <= diameters["Mass"] < 8


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_cardiomegaly_is_more_than_half_the_chest(strength: float) -> None:
    for seed in range(5):
        chest, _ = with_sign("Cardiomegaly", lesion(strength=strength), seed=seed)
        (x, y), a = chest.canvas.grid, chest.anatomy
        rows = (y > a.hilum) & (y < a.dome_left)
        heart, inner = np.ptp(x[rows & (chest.heart > 0.5)]), np.ptp(x[rows & (sum(chest.rim.values()) > 0)])
        assert chest.anatomy.cardiothoracic_ratio > 0.5
        assert heart / inner == pytest.approx(chest.anatomy.cardiothoracic_ratio, abs=0.03)
        assert heart / inner > anatomy(seed).cardiothoracic_ratio


def test_effusion_blunts_the_angle_and_climbs_the_wall() -> None:
    chest, shadow = with_sign("Effusion", lesion(LEFT, strength=0.5))
    change, (x, y) = absorption(chest, [shadow]) - absorption(chest, []), chest.canvas.grid
    angle = (chest.lung > 0.3) & (x > 0) & (y > chest.anatomy.dome_left + 2)
    assert change[angle].mean() > 0.2
    assert change[(x < -1) | (y < chest.anatomy.hilum - 4)].max() < 0.02
    assert shadow.opacity is not None
    filled = shadow.opacity > 0.5
    highest = [y[filled & (x > at) & (x < at + 1)].min() for at in (6.0, chest.anatomy.half_width - 2.0)]
    assert highest[1] < highest[0] - 0.5


def test_no_vessels_beyond_the_pleural_line() -> None:
    chest, shadow = with_sign("Pneumothorax", lesion(LEFT, strength=0.9))
    assert shadow.bare is not None
    assert shadow.extent is not None
    beyond = (shadow.bare > 0.99) & (chest.lung > 0.3)
    assert beyond.sum() > 100
    smooth = replace(chest, vessels=np.zeros_like(chest.vessels))
    vessels = absorption(chest, [shadow]) - absorption(smooth, [shadow])
    assert np.abs(vessels[beyond]).max() < 0.01
    assert (absorption(chest, []) - absorption(smooth, []))[beyond].max() > 0.03


def test_emphysema_has_larger_darker_lungs_and_a_low_flat_diaphragm() -> None:
    chest, _ = with_sign("Emphysema", lesion(strength=0.9))
    normal = draw_chest(upright(), anatomy(1))
    assert chest.lung.sum() > 1.1 * normal.lung.sum()
    assert chest.anatomy.dome_right > normal.anatomy.dome_right + 1
    assert chest.anatomy.dome_height < 0.7 * normal.anatomy.dome_height


def test_edema_is_on_both_sides_around_the_hila() -> None:
    chest, shadow = with_sign("Edema", lesion(strength=0.9))
    (x, y), opacity = chest.canvas.grid, shadow.opacity
    assert opacity is not None
    near = np.abs(y - chest.anatomy.hilum) < 3
    right, left = (opacity[near & (x * side > 3.5) & (x * side < 8)].mean() for side in (RIGHT, LEFT))
    assert min(right, left) > 0.2
    assert opacity[(y < chest.anatomy.apex + 2)].max() < 0.5 * min(right, left)


def test_hernia_has_air_above_a_level_behind_the_heart() -> None:
    chest, shadow = with_sign("Hernia", lesion(strength=1.0), size=320)
    assert shadow.density is not None
    (x, y), air = chest.canvas.grid, shadow.density < -0.05
    assert abs(x[air].mean()) < chest.anatomy.heart_left
    below = y[air].max()
    flat = np.ptp([y[air & (np.abs(x - x[air].mean() - at) < 0.2)].max() for at in (-1.0, 0.0, 1.0)])
    assert flat < 0.3
    assert (shadow.density[(y > below + 0.2) & (shadow.extent > 0.9)] > 0).all()
