"""Draw the layers of a frontal radiograph of one chest (soft tissue, lung, vessels, bone) and add them up.

Absorption is in units of the soft tissue of a normal trunk.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chestxray.phantom.anatomy import BASE_OF_FIELD, LEFT, RIGHT, Anatomy, belly_outline, mediastinum, wall
from chestxray.phantom.canvas import Array, Canvas, Points, curve, mirror, ramp
from chestxray.phantom.skeleton import draw_bones

LUNG_CONTRAST = 0.60
"""Absorption that a lung full of air lacks."""
VESSEL_CONTRAST = 0.27
"""What of it a large vessel gives back."""


@dataclass(frozen=True)
class Chest:
    """The layers of one normal radiograph, float32 arrays `(size, size)`.

    Attributes:
        canvas: that they are drawn on.
        anatomy: that they show.
        soft: absorption of all soft tissue as if the lungs were solid.
        lung: thickness of aerated lung, 0 to about 1.
        vessels: vessel markings, 0..1.
        bone: absorption of bone.
        heart: inside of mediastinum and heart, 0..1.
        rim: by side, depth inside the inner chest wall, in centimetres; 0 outside that half.
        organs: absorption of heart and abdomen beyond other soft tissue's.
    """

    canvas: Canvas
    anatomy: Anatomy
    soft: Array
    lung: Array
    vessels: Array
    bone: Array
    heart: Array
    rim: dict[int, Array]
    organs: Array

    def spot(self, side: int, height: float, outward: float) -> tuple[float, float]:
        """Return a place in the lung: `height` 0 at the apex, 1 at the dome; `outward` 0 medial, 1 at the wall."""
        a = self.anatomy
        y = a.apex + height * (a.dome(side) - a.apex)
        return self.across(side, y, outward), y

    def across(self, side: int, y: float, outward: float) -> float:
        """Return x in the lung of `side` at `y`: `outward` 0 at the mediastinum, 1 at the chest wall."""
        inner, outer = (np.interp(y, line[:, 1], line[:, 0]) for line in (self.middle(side), wall(self.anatomy, side)))
        return float(inner + outward * (outer - inner))

    def middle(self, side: int) -> Points:
        """Return the edge of mediastinum and heart on `side`."""
        return mediastinum(self.anatomy, side)


class Shadow(NamedTuple):
    """What a sign or a device changes in the image; float32 arrays of the image's shape, or None.

    Attributes:
        opacity: 0..1, part of the lung's air replaced by fluid or tissue.
        density: absorption added wherever it lies (negative: air).
        bare: 0..1, where vessel markings are missing.
        extent: 0..1, what a reader would put a box around.
    """

    opacity: Array | None = None
    density: Array | None = None
    bare: Array | None = None
    extent: Array | None = None


def absorption(chest: Chest, shadows: list[Shadow]) -> Array:
    """Add up the layers: fluid replaces air, and hides the vessels that it surrounds."""
    clear = np.ones_like(chest.lung)
    bare = np.ones_like(chest.lung)
    total = chest.soft + chest.bone
    for shadow in shadows:
        if shadow.opacity is not None:
            clear *= 1 - shadow.opacity
        if shadow.bare is not None:
            bare *= 1 - shadow.bare
        if shadow.density is not None:
            total = total + shadow.density
    air = chest.lung * clear
    return total - air * (LUNG_CONTRAST - VESSEL_CONTRAST * chest.vessels * bare)


def draw_chest(canvas: Canvas, anatomy: Anatomy) -> Chest:
    """Draw the layers of a normal chest."""
    rng = np.random.default_rng(anatomy.seed)
    rim = {side: chest_rim(canvas, anatomy, side) for side in (RIGHT, LEFT)}
    heart = canvas.fill(np.vstack([mediastinum(anatomy, RIGHT), mediastinum(anatomy, LEFT)[::-1]]), softness=0.12)
    belly = canvas.fill(belly_outline(anatomy), softness=0.06)
    lung = anatomy.aeration * np.sqrt(ramp(rim[RIGHT] + rim[LEFT], 0, 1.6)) * (1 - belly) * (1 - 0.93 * heart)
    organs = draw_organs(canvas, anatomy, heart, belly)
    soft = draw_body(canvas, anatomy) * (1 + organs + np.float32(0.03) * canvas.noise(rng, 5.0))
    soft += draw_breasts(canvas, anatomy) * (1 - 0.6 * belly)
    soft -= draw_stomach(canvas, anatomy, belly) + 0.17 * draw_airways(canvas, anatomy) * heart
    vessels = draw_vessels(canvas, anatomy, rng)
    return Chest(canvas, anatomy, soft, lung, vessels, draw_bones(canvas, anatomy), heart, rim, organs)


def chest_rim(canvas: Canvas, a: Anatomy, side: int) -> Array:
    """Return the depth inside the chest wall of one half, in centimetres; 0 elsewhere."""
    beyond = mirror([(-8, BASE_OF_FIELD), (-8, a.apex + 9), (1.0, a.apex + 3.2), (2.7, a.apex + 0.8)], side)
    cage = canvas.fill(np.vstack([wall(a, side), beyond]))
    x, _ = canvas.grid
    return np.where(x * side > 0, canvas.distance(cage), np.float32(0))


def draw_organs(canvas: Canvas, a: Anatomy, heart: Array, belly: Array) -> Array:
    """Draw what heart and abdomen absorb beyond other soft tissue: alike where they meet, more further down."""
    _, y = canvas.grid
    middle = np.float32(0.13) * heart * ramp(y, a.apex - 2.5, a.apex + 4)
    deep = np.float32(0.16) * ramp(y, a.dome_right - 1.5, a.dome_right + 4.5)
    return np.asarray(np.maximum(middle, belly * (np.float32(0.12) + deep)))


def draw_body(canvas: Canvas, a: Anatomy) -> Array:
    """Draw the soft tissue of neck, trunk and arms: 1 where thick, thinning towards its outline, 0 in air."""
    flank = a.half_width + 2.4 + 0.9 * a.bulk
    neck = 5.2 + 0.4 * a.bulk
    s = a.shoulder
    half = curve(
        [(neck, -4), (neck - 0.2, 1.0), (neck + 1.6, 3.6), (11.5, 4.9 + s), (17, 6.4 + s), (20.2, 10 + s), (22, 17)], 40
    )
    trunk = curve([(flank + 1.0, 17.5), (flank + 0.3, 21), (flank, 27), (flank + 0.5, BASE_OF_FIELD)], 24)
    arm_gap = [(flank + 6.0, BASE_OF_FIELD), (flank + 1.6, 18.5)]
    outline = np.vstack([half, [(25, BASE_OF_FIELD)], arm_gap, trunk])
    mask = canvas.fill(np.vstack([outline, mirror(outline, -1)[::-1]]))
    away = np.clip(canvas.distance(mask) / 4.2, 0, 1)
    _, y = canvas.grid
    thickness = (0.78 + 0.22 * ramp(y, 2, 9)) * (1 + 0.05 * np.float32(a.bulk))
    return np.asarray((1 - (1 - away) ** 3) * thickness, np.float32)


def draw_breasts(canvas: Canvas, a: Anatomy) -> Array:
    """Draw the breasts over the lower lungs; their lower edge is the sharper one."""
    layer = np.zeros((canvas.size, canvas.size), np.float32)
    if not a.breast:
        return layer
    _, y = canvas.grid
    for side in (RIGHT, LEFT):
        centre = (side * (a.half_width - 4.6), a.dome_right - 1.6 + 2.5 * a.breast)
        radius = 4.6 + 1.6 * a.breast
        shadow = canvas.ellipse(centre, (radius * 1.08, radius), softness=1.6)
        layer += 0.25 * a.breast * shadow * ramp(y, centre[1] - radius, centre[1] + radius * 0.6)
    return layer


def draw_stomach(canvas: Canvas, a: Anatomy, belly: Array) -> Array:
    """Draw the air under the left dome, large, small or none, above the level of what the stomach holds."""
    full = 1.8 * a.stomach
    centre = (5.2 + 1.6 * full, a.dome_left + 1.6 + 0.9 * full)
    bubble = canvas.ellipse(centre, (1.2 + 1.7 * full, 0.7 + 0.9 * full), -8, 0.5)
    _, y = canvas.grid
    level = centre[1] + (0.7 + 0.9 * full) * np.cos(9 * a.stomach)
    return 0.42 * min(1.0, 3 * full) * bubble * belly * ramp(y, level + 0.2, level - 0.1)


def draw_airways(canvas: Canvas, a: Anatomy) -> Array:
    """Draw trachea and main bronchi, full of air."""
    carina = a.hilum - 1.6
    bend = a.shift + 0.15 - 0.25 * a.knob
    trachea = curve([(0, -2), (0, 4), (bend * 0.7, carina - 4), (bend, carina)])
    bronchi = [curve([(bend, carina - 0.4), (bend + side * 1.6, carina + 1.6), (bend + side * 3.4, carina + 2.9)])
               for side in (RIGHT, LEFT)]  # fmt: skip
    layer = canvas.stroke([*bronchi, trachea], [1.0, 1.0, 1.7], [0.6, 0.6, 1.0])
    return canvas.blur(layer, 0.14)


def draw_vessels(canvas: Canvas, a: Anatomy, rng: np.random.Generator) -> Array:
    """Draw the pulmonary vessels, branching from the hila and thinning outwards; the lower ones are the wider."""
    layers = []
    for side, height in ((RIGHT, 0.5), (LEFT, -0.4)):
        paths, widths = branches(rng, (side * 3.3 + a.shift, a.hilum + height), side, a)
        layers.append(canvas.stroke(paths, widths, [min(1.0, 0.2 + 1.6 * width) for width in widths]))
    return canvas.blur(np.maximum(*layers), 0.06) + 0.5 * draw_hila(canvas, a)


def draw_hila(canvas: Canvas, a: Anatomy) -> Array:
    """Draw the hazy mass of the large vessels at the hila."""
    spots = [((side * 4.0 + a.shift, a.hilum + (0.7 if side == RIGHT else -0.2)), side) for side in (RIGHT, LEFT)]
    return np.asarray(sum(canvas.ellipse(spot, (1.3, 2.4), side * -18, 2.2) for spot, side in spots), np.float32)


def branches(
    rng: np.random.Generator, root: tuple[float, float], side: int, a: Anatomy, generations: int = 5
) -> tuple[list[Points], list[float]]:
    """Grow a tree of vessels in which each branch bends a little and splits in two.

    Args:
        rng: of the details.
        root: x and y where the tree begins.
        side: -1 right, +1 left.
        a: with the width of the vessels.
        generations: how often the branches split.

    Returns:
        Paths `(3, 2)` and their widths, both in centimetres, the finest first.
    """
    angle = np.linspace(-1.35, 1.5, 9) + rng.normal(0, 0.16, 9)  # 0 points outwards, positive to the feet
    start = np.array(root) + np.column_stack([side * rng.uniform(-0.5, 0.9, 9), 2.0 * np.sin(angle)])
    width = 0.25 * a.vessels * (1 + (a.upper_vessels - 1) * (angle < 0)) * rng.uniform(0.8, 1.2, 9)
    paths: list[Points] = []
    widths: list[float] = []
    for generation in range(generations):
        reach = (2.7 - 0.2 * generation) * rng.uniform(0.75, 1.3, len(angle))
        bend = angle + rng.normal(0, 0.24, len(angle))
        middle = start + 0.5 * reach[:, None] * np.column_stack([side * np.cos(angle), np.sin(angle)])
        end = middle + 0.5 * reach[:, None] * np.column_stack([side * np.cos(bend), np.sin(bend)])
        paths = [*np.stack([start, middle, end], axis=1), *paths]
        widths = [*width.tolist(), *widths]
        fork = rng.uniform(0.18, 0.48, len(angle))
        start = np.repeat(end, 2, axis=0)
        angle = np.concatenate([bend - fork, bend + fork]).reshape(2, -1).T.ravel()
        width = np.repeat(width, 2) * rng.uniform(0.55, 0.86, len(angle))
    return paths, widths
