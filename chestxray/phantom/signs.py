"""Draw the radiographic sign of each finding, as a radiologist would sketch it.

A sign may deform the anatomy before the chest is drawn (an enlarged heart, a flattened diaphragm), and casts a shadow
onto the drawn chest. `SIGNS` is the table from finding to sign. The signs follow the glossary of the Fleischner
Society (Hansell et al., Radiology 2008;246:697-722).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from chestxray.phantom.anatomy import LEFT, RIGHT, Anatomy
from chestxray.phantom.canvas import ramp
from chestxray.phantom.chest import Chest, Shadow
from chestxray.phantom.lesion import Lesion, patches, side_mask
from chestxray.phantom.opacities import (
    atelectasis,
    consolidation,
    edema,
    fibrosis,
    infiltration,
    mass,
    nodule,
    pneumonia,
)


def keep_anatomy(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Leave the measures of the chest as they are."""
    return a


def lose_volume(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Raise the diaphragm of the side and draw the mediastinum over."""
    lobar = lesion.variant > 0.5
    lift = lesion.between(0.3, 1.6 + 0.8 * lobar)
    return replace(
        a,
        dome_right=a.dome_right - lift * (lesion.side == RIGHT),
        dome_left=a.dome_left - lift * (lesion.side == LEFT),
        shift=a.shift + lesion.side * lesion.between(0, 0.9) * lobar,
    )


def enlarge_heart(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Raise the cardiothoracic ratio above a half, mostly to the left."""
    growth = 2 * a.half_width * max(lesion.between(0.505, 0.62) - a.cardiothoracic_ratio, 0.02)
    return replace(a, heart_right=a.heart_right + 0.2 * growth, heart_left=a.heart_left + 0.8 * growth)


def push_mediastinum(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Push the mediastinum away from a large pneumothorax."""
    return replace(a, shift=a.shift - lesion.side * 0.9 * max(0.0, lesion.strength - 0.5))


def engorge_vessels(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Divert blood to the upper lobes and widen all vessels."""
    wide = 1 + lesion.between(0.0, 0.4)
    return replace(a, vessels=a.vessels * wide, upper_vessels=a.upper_vessels + lesion.between(0.0, 0.6))


def overinflate(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Stretch and darken the lungs over a low flat diaphragm, with a narrow heart and sparse vessels."""
    low = lesion.between(0.0, 2.5)
    return replace(
        a,
        apex=a.apex - 0.25 * low,
        dome_right=a.dome_right + low,
        dome_left=a.dome_left + low,
        dome_height=a.dome_height * lesion.between(1.0, 0.4),
        half_width=a.half_width * lesion.between(1.0, 1.05),
        heart_right=a.heart_right * lesion.between(1.0, 0.8),
        heart_left=a.heart_left * lesion.between(1.0, 0.8),
        aeration=a.aeration * lesion.between(1.0, 1.16),
        vessels=a.vessels * lesion.between(1.0, 0.6),
        rib_slope=a.rib_slope * lesion.between(1.0, 0.7),
    )


def shrink_lungs(a: Anatomy, lesion: Lesion) -> Anatomy:
    """Raise both sides of the diaphragm: scarred lungs are small."""
    lift = lesion.between(0.0, 1.6)
    return replace(a, dome_right=a.dome_right - lift, dome_left=a.dome_left - lift)


def heart_extent(chest: Chest, lesion: Lesion) -> Shadow:
    """Return the extent of the heart from the hila to the diaphragm: the sign is the outline itself."""
    a = chest.anatomy
    _, y = chest.canvas.grid
    return Shadow(
        extent=chest.heart * ramp(y, a.hilum - 0.6, a.hilum - 0.4) * ramp(y, a.dome_left + 1.6, a.dome_left + 1.4)
    )


def effusion(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw fluid that blunts the costophrenic angle and climbs the chest wall as a meniscus."""
    rng = lesion.rng()
    sides = (RIGHT, LEFT) if lesion.variant > 0.7 else (lesion.side,)
    opacity = np.zeros_like(chest.lung)
    _, y = chest.canvas.grid
    for side in sides:
        depth = lesion.between(0.1, 5.2) * rng.uniform(0.6, 1.1)
        level = chest.anatomy.dome(side) + 0.8 * chest.anatomy.dome_height - depth
        climb = lesion.between(0.8, 4.0) * ramp(chest.rim[side], 7.0, -1.0) ** 2
        fluid = ramp(y - level + climb, -0.7, 0.7) * side_mask(chest, side)
        opacity = np.maximum(opacity, lesion.between(0.45, 0.98) * fluid)
    density = opacity * np.maximum(0.20 - chest.organs, 0)
    return Shadow(opacity=opacity, density=density, extent=opacity * (chest.lung > 0.15))


def pneumothorax(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw air around a collapsed lung: a thin pleural line, and no vessels between it and the chest wall."""
    rng = lesion.rng()
    rim = chest.rim[lesion.side]
    _, y = chest.canvas.grid
    height = ramp(y, chest.anatomy.apex + lesion.between(7, 18), chest.anatomy.apex)
    width = lesion.between(0.35, 3.5) * (0.25 + 0.75 * height) * rng.uniform(0.85, 1.15) * (height > 0)
    free = ramp(width - rim, 0, 0.12) * side_mask(chest, lesion.side)
    line = ramp(np.abs(rim - width), 0.16, 0.05) * (height > 0.02) * side_mask(chest, lesion.side)
    fallen = lesion.between(0.0, 0.22) * side_mask(chest, lesion.side) * (1 - free)
    extra = lesion.between(0.02, 0.10) * free * (chest.lung > 0.1)
    return Shadow(
        opacity=fallen, density=lesion.between(0.03, 0.12) * line - extra, bare=free, extent=free * chest.lung
    )


def pleural_thickening(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a band along the chest wall, a cap at the apex, or an angle blunted in a straight line."""
    rng = lesion.rng()
    a = chest.anatomy
    _, y = chest.canvas.grid
    sides = (RIGHT, LEFT) if lesion.variant > 0.75 else (lesion.side,)
    if lesion.variant < 0.35:
        top = a.apex - 1
        bottom = a.apex + 3.5
    else:
        top = a.hilum - 2
        bottom = a.dome(lesion.side) + 4
    length = ramp(y, top, top + 2) * ramp(y, bottom, bottom - 3)
    thick = lesion.between(0.55, 1.6) * length * (1 + 0.25 * chest.canvas.noise(rng, 3.0))
    band = np.zeros_like(chest.lung)
    for side in sides:
        band = np.maximum(band, ramp(chest.rim[side] - thick, 0.1, -0.2) * side_mask(chest, side))
    amount = lesion.between(0.45, 0.95)
    return Shadow(opacity=amount * band, density=0.10 * amount * band, extent=band)


def emphysema(chest: Chest, lesion: Lesion) -> Shadow:
    """Clear bullae of their vessels, mostly in the upper zones."""
    rng = lesion.rng()
    spots = [chest.spot(side, rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.7)) for side in (RIGHT, LEFT)]
    return Shadow(bare=lesion.between(0.1, 0.9) * patches(chest, rng, spots, 3.2))


def hernia(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a hiatal hernia: a round opacity behind the heart with air above a level of fluid."""
    rng = lesion.rng()
    a = chest.anatomy
    _, y = chest.canvas.grid
    radius = lesion.between(2.2, 4.2)
    centre = (rng.uniform(0.3, 2.6), a.dome_left - radius * rng.uniform(-0.1, 0.6))
    sac = chest.canvas.ellipse(centre, (radius * 1.15, radius), 0, 0.5)
    inside = chest.canvas.ellipse(centre, (radius * 1.0, radius * 0.86), 0, 0.25)
    level = centre[1] + radius * rng.uniform(-0.15, 0.25)
    air = inside * ramp(y, level + 0.06, level - 0.06)
    amount = lesion.between(0.35, 1.0)
    density = np.float32(amount) * (np.float32(0.10) * sac - np.float32(0.26) * air)
    return Shadow(opacity=0.9 * amount * sac, density=density, extent=sac)


class Sign(NamedTuple):
    """How a finding shows.

    Attributes:
        deform: changes the anatomy before the chest is drawn.
        cast: draws the shadow onto the drawn chest.
    """

    deform: Callable[[Anatomy, Lesion], Anatomy]
    cast: Callable[[Chest, Lesion], Shadow]


SIGNS: dict[str, Sign] = {
    "Atelectasis": Sign(lose_volume, atelectasis),
    "Cardiomegaly": Sign(enlarge_heart, heart_extent),
    "Effusion": Sign(keep_anatomy, effusion),
    "Infiltration": Sign(keep_anatomy, infiltration),
    "Mass": Sign(keep_anatomy, mass),
    "Nodule": Sign(keep_anatomy, nodule),
    "Pneumonia": Sign(keep_anatomy, pneumonia),
    "Pneumothorax": Sign(push_mediastinum, pneumothorax),
    "Consolidation": Sign(keep_anatomy, consolidation),
    "Edema": Sign(engorge_vessels, edema),
    "Emphysema": Sign(overinflate, emphysema),
    "Fibrosis": Sign(shrink_lungs, fibrosis),
    "Pleural_Thickening": Sign(keep_anatomy, pleural_thickening),
    "Hernia": Sign(keep_anatomy, hernia),
}
