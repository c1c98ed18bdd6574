"""Draw the signs of findings that fill the air spaces or scar the lung, as shadows on an otherwise normal chest."""

import numpy as np

from chestxray.phantom.anatomy import LEFT, RIGHT, wall
from chestxray.phantom.canvas import ramp
from chestxray.phantom.chest import Chest, Shadow
from chestxray.phantom.lesion import Lesion, air_bronchogram, patches, round_opacity, side_mask


def atelectasis(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw plate atelectasis, collapse of the right upper lobe, or the sail of a collapsed lower lobe."""
    if lesion.variant <= 0.5:
        return plates(chest, lesion)
    if lesion.variant > 0.8 and lesion.side == RIGHT:
        return collapsed_upper_lobe(chest, lesion)
    return sail(chest, lesion)


def plates(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw one to three bands, almost level, above the diaphragm."""
    rng = lesion.rng()
    band = np.zeros_like(chest.lung)
    for _ in range(rng.integers(1, 4)):
        spot = chest.spot(lesion.side, rng.uniform(0.68, 0.93), rng.uniform(0.25, 0.6))
        radii = (rng.uniform(1.8, 3.6), rng.uniform(0.2, 0.4))
        band = np.maximum(band, chest.canvas.ellipse(spot, radii, lesion.side * rng.normal(-8, 14), 0.35))
    band = band * side_mask(chest, lesion.side)
    return Shadow(opacity=lesion.between(0.25, 0.95) * band, extent=band)


def collapsed_upper_lobe(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a dense wedge at the right apex whose lower edge, the minor fissure, is lifted and bowed."""
    a = chest.anatomy
    height = a.apex + (a.hilum - a.apex) * lesion.between(0.45, 0.8)
    x, y = chest.canvas.grid
    fissure = height - 0.22 * (-x - 3) + 0.03 * (-x - 6) ** 2
    wedge = ramp(y - fissure, 0.15, -0.15) * side_mask(chest, RIGHT)
    return Shadow(opacity=lesion.between(0.3, 0.9) * wedge, extent=wedge)


def sail(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw the triangle of a collapsed lower lobe, from the hilum down along the spine."""
    a = chest.anatomy
    side = lesion.side
    foot = chest.across(side, a.dome(side), lesion.between(0.15, 0.45))
    triangle = chest.canvas.fill(
        [(side * 1.2, a.hilum), (foot, a.dome(side) + 1.2), (side * 0.5, a.dome(side) + 2)], softness=0.3
    )
    triangle = triangle * side_mask(chest, side)
    amount = lesion.between(0.3, 0.9)
    return Shadow(amount * triangle, density=0.16 * amount * triangle * chest.heart, extent=triangle)


def infiltration(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw ill-defined, patchy and streaky haze in one or several places."""
    rng = lesion.rng()
    sides = [lesion.side, -lesion.side if lesion.variant > 0.5 else lesion.side]
    spots = [chest.spot(side, rng.uniform(0.35, 0.9), rng.uniform(0.15, 0.7)) for side in sides]
    cloud = patches(chest, rng, spots, lesion.between(2.4, 4.2))
    streaks = ramp(np.abs(chest.canvas.noise(rng, 0.55)), 0.55, 0.0)
    mottle = ramp(chest.canvas.noise(rng, 1.3), -1.2, 1.2)
    return Shadow(opacity=lesion.between(0.2, 0.62) * cloud * (0.35 + 0.35 * mottle + 0.5 * streaks), extent=cloud)


def pneumonia(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a patchy, ill-defined opacity of part of a lobe with some air bronchograms."""
    rng = lesion.rng()
    spot = chest.spot(lesion.side, rng.uniform(0.45, 0.9), rng.uniform(0.2, 0.55))
    cloud = patches(chest, rng, [spot, (spot[0] + lesion.side * 1.5, spot[1] + 1.2)], lesion.between(2.6, 4.4))
    mottle = 0.4 + 0.6 * ramp(chest.canvas.noise(rng, 1.6), -1.4, 1.0)
    bronchi = air_bronchogram(chest, lesion.side, rng)
    return Shadow(opacity=lesion.between(0.45, 0.95) * cloud * mottle * (1 - 0.35 * bronchi), extent=cloud)


def consolidation(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a lobe or segment full of fluid: even, dense, sharp at a fissure, with air bronchograms."""
    rng = lesion.rng()
    a = chest.anatomy
    side = lesion.side
    _, y = chest.canvas.grid
    fissure = a.hilum + 0.6
    upper = lesion.variant < 0.35
    height = 0.22 if upper else 0.78
    outward = 0.4 if upper else 0.3
    spot = chest.spot(side, height, outward + rng.normal(0, 0.1))
    cloud = chest.canvas.ellipse(spot, (lesion.between(2.6, 5.5), lesion.between(2.6, 5.0)), 0, 3.0)
    cloud = cloud * (ramp(y, fissure + 0.1, fissure - 0.1) if upper else ramp(y, fissure - 0.1, fissure + 0.1))
    cloud = ramp(cloud + 0.15 * chest.canvas.noise(rng, 1.8), 0.2, 0.8) * side_mask(chest, side)
    bronchi = air_bronchogram(chest, side, rng)
    return Shadow(opacity=lesion.between(0.45, 0.95) * cloud * (1 - 0.4 * bronchi), extent=cloud)


def mass(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a round opacity of three centimetres or more."""
    rng = lesion.rng()
    spot = chest.spot(lesion.side, rng.uniform(0.15, 0.85), rng.uniform(0.2, 0.75))
    tumour = round_opacity(chest, spot, lesion.between(3.4, 6.6), rng)
    return Shadow(opacity=lesion.between(0.35, 0.9) * tumour, extent=tumour)


def nodule(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a round opacity below three centimetres; sometimes several."""
    rng = lesion.rng()
    spots = np.zeros_like(chest.lung)
    for _ in range(1 + int(3 * lesion.variant**2)):
        side = lesion.side if rng.random() < 0.7 else -lesion.side
        spot = chest.spot(side, rng.uniform(0.12, 0.88), rng.uniform(0.15, 0.85))
        spots = np.maximum(spots, round_opacity(chest, spot, lesion.between(1.0, 2.6) * rng.uniform(0.85, 1.08), rng))
    return Shadow(opacity=lesion.between(0.3, 0.8) * spots, extent=spots)


def edema(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw haze spreading from both hila like the wings of a bat, and Kerley B lines at the bases."""
    rng = lesion.rng()
    a = chest.anatomy
    spots = [(side * 5.8 + a.shift, a.hilum + 1.5) for side in (RIGHT, LEFT)]
    wings = sum(chest.canvas.ellipse(spot, (4.4, 6.4), 0, 6.5) for spot in spots)
    mottle = 0.7 + 0.3 * ramp(chest.canvas.noise(rng, 0.9), -1.5, 1.5)
    lines = []
    for side in (RIGHT, LEFT):
        for y in a.dome(side) + np.sort(rng.uniform(-2.8, 1.8, 7)):
            x = np.interp(y, wall(a, side)[:, 1], wall(a, side)[:, 0])
            lines.append(np.array([(x, y), (x - side * rng.uniform(1.0, 2.0), y + rng.normal(0, 0.08))]))
    kerley = chest.canvas.stroke(lines, [0.12] * len(lines), [1.0] * len(lines))
    opacity = np.clip(lesion.between(0.06, 0.6) * wings * mottle + lesion.between(0.05, 0.4) * kerley, 0, 0.95)
    return Shadow(opacity=np.asarray(opacity, np.float32))


def fibrosis(chest: Chest, lesion: Lesion) -> Shadow:
    """Draw a net of lines with small holes (honeycombs) at the bases and the periphery of both lungs."""
    rng = lesion.rng()
    a = chest.anatomy
    _, y = chest.canvas.grid
    near_wall = ramp(chest.rim[RIGHT] + chest.rim[LEFT], 6.5, 0.5)
    where = np.clip(0.85 * ramp(y, a.hilum - 2, a.dome_right) + 0.5 * near_wall - 0.25, 0, 1)
    net = ramp(np.abs(chest.canvas.noise(rng, 0.7)), 0.5, 0.05)
    fine = ramp(np.abs(chest.canvas.noise(rng, 0.4)), 0.5, 0.0)
    amount = lesion.between(0.08, 0.6)
    return Shadow(opacity=amount * where * np.clip(0.25 + 0.5 * net + 0.4 * fine, 0, 1))
