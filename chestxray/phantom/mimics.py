"""Draw mimics: normal variants and chance shadows that look like a finding and are none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from chestxray.phantom.anatomy import LEFT, RIGHT, Anatomy
from chestxray.phantom.canvas import Array, curve, ramp
from chestxray.phantom.chest import Chest, Shadow
from chestxray.phantom.lesion import round_opacity, side_mask


def sample_side(rng: np.random.Generator) -> int:
    """Draw the patient's right or left."""
    return int(rng.choice([RIGHT, LEFT]))


def nipples(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw two small round shadows at the same height: like nodules, but symmetrical."""
    a = chest.anatomy
    out = rng.uniform(0.58, 0.68)
    y = a.dome_right - rng.uniform(1.0, 3.2)
    width = rng.uniform(0.9, 1.3)
    spots = [round_opacity(chest, (side * out * a.half_width, y + rng.normal(0, 0.3)), width, rng) for side in (-1, 1)]
    return np.float32(rng.uniform(0.06, 0.14)) * np.maximum(*spots)


def granuloma(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a scar of a few millimetres, or a bone island in a rib: denser and smaller than a nodule."""
    spot = chest.spot(sample_side(rng), rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9))
    return rng.uniform(0.10, 0.22) * round_opacity(chest, spot, rng.uniform(0.4, 0.8), rng)


def vessel_on_end(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a vessel that runs towards the beam near the hilum."""
    a = chest.anatomy
    side = sample_side(rng)
    spot = (side * rng.uniform(3.6, 6.0), a.hilum + rng.uniform(-2.0, 2.5))
    return rng.uniform(0.06, 0.13) * round_opacity(chest, spot, rng.uniform(0.7, 1.2), rng)


def skin_fold(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw an edge along the chest wall as in pneumothorax, but broad, and with vessels beyond it."""
    side = sample_side(rng)
    rim = chest.rim[side]
    _, y = chest.canvas.grid
    depth = rng.uniform(0.8, 4.0)
    top = chest.anatomy.apex + rng.uniform(0, 6)
    band = ramp(rim, depth + rng.uniform(1.5, 3.0), depth) * ramp(rim, depth - 0.1, depth) * side_mask(chest, side)
    return rng.uniform(0.04, 0.09) * band * ramp(y, top, top + 2) * ramp(y, top + rng.uniform(9, 16), top + 7)


def fat_pad(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw fat in the angle between heart and diaphragm."""
    a = chest.anatomy
    side = sample_side(rng)
    edge = chest.across(side, a.dome(side) - 0.5, 0.0)
    return rng.uniform(0.08, 0.22) * chest.canvas.ellipse((edge, a.dome(side) + 0.4), (2.2, 1.8), side * 40, 1.6)


def overlying_tissue(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a soft veil over part of a lung: muscle, breast or bedding on one side."""
    spot = chest.spot(sample_side(rng), rng.uniform(0.2, 1.0), rng.uniform(0.3, 0.9))
    radii = (rng.uniform(2.5, 6), rng.uniform(2.5, 6))
    return rng.uniform(0.04, 0.13) * chest.canvas.ellipse(spot, radii, rng.uniform(0, 180), 2.5 * min(radii) * 0.7)


def coarse_markings(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw the net of an old or a smoker's lung, or of vessels crowded at the bases."""
    _, y = chest.canvas.grid
    net = ramp(np.abs(chest.canvas.noise(rng, 0.6)), 0.5, 0.0)
    basal = 0.35 + 0.65 * ramp(y, chest.anatomy.hilum - 3, chest.anatomy.dome_right)
    return rng.uniform(0.03, 0.10) * net * basal * chest.lung


def scar(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a thin line of an old scar or a fissure seen edge-on: thinner than plate atelectasis."""
    side = sample_side(rng)
    x, y = chest.spot(side, rng.uniform(0.4, 0.95), rng.uniform(0.25, 0.7))
    half = rng.uniform(1.0, 2.8)
    tilt = rng.normal(0, 0.35)
    path = curve([(x - half, y + half * tilt), (x, y + rng.normal(0, 0.2)), (x + half, y - half * tilt)])
    return rng.uniform(0.10, 0.2) * chest.canvas.blur(chest.canvas.stroke([path], [0.16], [1.0]), 0.04)


def companion_shadow(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw soft tissue along the ribs at the apex or the side: thinner than pleural thickening."""
    side = sample_side(rng)
    _, y = chest.canvas.grid
    top = chest.anatomy.apex + rng.choice([-1.0, 8.0])
    band = ramp(chest.rim[side], rng.uniform(0.4, 0.8), 0.2) * side_mask(chest, side)
    return rng.uniform(0.08, 0.2) * band * ramp(y, top, top + 1) * ramp(y, top + rng.uniform(4, 9), top + 3)


def bowel(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw gas in the colon under the left dome and near the midline: a level that is not behind the heart."""
    a = chest.anatomy
    spot = (rng.uniform(-1.0, 9.0), a.dome_left + rng.uniform(2.2, 5.0))
    return -rng.uniform(0.1, 0.3) * chest.canvas.ellipse(spot, (rng.uniform(1.0, 2.4), rng.uniform(0.8, 1.5)), 0, 0.4)


MIMICS: dict[Callable[[Chest, np.random.Generator], Array], float] = {
    nipples: 0.20,
    granuloma: 0.35,
    vessel_on_end: 0.5,
    skin_fold: 0.20,
    fat_pad: 0.35,
    overlying_tissue: 0.7,
    coarse_markings: 0.6,
    scar: 0.4,
    companion_shadow: 0.4,
    bowel: 0.4,
}
"""Share of studies with each at difficulty 1."""


def draw_mimics(chest: Chest, difficulty: float, rng: np.random.Generator) -> list[Shadow]:
    """Draw the mimics of one study; the higher the difficulty (0..1), the more."""
    return [Shadow(density=draw(chest, rng)) for draw, odds in MIMICS.items() if rng.random() < odds * difficulty]


def vary_anatomy(anatomy: Anatomy, difficulty: float, rng: np.random.Generator) -> Anatomy:
    """Move a chest to the edge of the normal: a big heart, a deep or a tight chest, an elevated dome."""
    edge = (1.4 * difficulty * rng.normal(0, 1, 4)).tolist()
    heart = 1 + 0.05 * min(max(edge[0], -1.5), 1.6)
    return replace(
        anatomy,
        heart_right=anatomy.heart_right * heart,
        heart_left=anatomy.heart_left * heart,
        dome_right=anatomy.dome_right + 0.8 * edge[1] + 0.3 * edge[2],
        dome_left=anatomy.dome_left + 0.8 * edge[1] - 0.3 * edge[2],
        dome_height=anatomy.dome_height * float(np.clip(1 - 0.12 * edge[1], 0.6, 1.3)),
        vessels=anatomy.vessels * float(np.clip(1 + 0.15 * edge[3], 0.6, 1.5)),
    )
