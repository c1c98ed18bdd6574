"""A normal chest: what is dark, what is bright, and where the heart points."""

from dataclasses import replace

import numpy as np

from chestxray.phantom.anatomy import breathe
from chestxray.phantom.chest import absorption, draw_chest
from tests.chestxray.phantom.drawing import anatomy, upright


def test_air_is_black_lungs_dark_mediastinum_and_abdomen_bright() -> None:
    for seed in range(5):
        chest = draw_chest(upright(), breathe(anatomy(seed), "PA", 0.0))
        a, total, (x, y) = chest.anatomy, absorption(chest, []), chest.canvas.grid
        lung = total[(chest.lung > 0.7) & (y < a.hilum + 5)].mean()
        heart = total[(chest.heart > 0.9) & (y > a.hilum) & (y < a.dome_right)].mean()
        abdomen = total[(np.abs(x) < 8) & (y > a.dome_left + 8)].mean()
        air = total[(np.abs(x) > 16) & (y < 3)].mean()
        assert air < lung - 0.2 < lung + 0.3 < heart < abdomen


def test_the_heart_points_to_the_patients_left_and_the_right_dome_is_higher() -> None:
    for seed in range(10):
        a = anatomy(seed)
        assert a.heart_left > a.heart_right
        assert a.cardiothoracic_ratio < 0.5
        chest = draw_chest(upright(), a)
        (x, _), heart = chest.canvas.grid, chest.heart > 0.5
        assert np.abs(x[heart & (x > 0)]).max() > np.abs(x[heart & (x < 0)]).max()
    assert np.mean([anatomy(seed).dome_right < anatomy(seed).dome_left for seed in range(50)]) > 0.9


def test_women_have_breast_shadows() -> None:
    woman = replace(anatomy(2, "F"), breast=1.0)
    flat = replace(woman, breast=0.0)
    with_breasts, without = (absorption(draw_chest(upright(), a), []) for a in (woman, flat))
    lower = upright().grid[1] > woman.hilum
    assert (with_breasts - without)[lower].max() > 0.05
    assert np.abs(with_breasts - without)[upright().grid[1] < woman.apex].max() < 1e-6
