"""Turn an absorption into a grey image: exposure, grain, devices, letters and collimation.

All of it varies between studies and says little of the findings: portable (AP) studies are greyer and noisier and
carry more devices, as in a hospital.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from chestxray.phantom.anatomy import LEFT, RIGHT
from chestxray.phantom.canvas import FIELD, Array, Canvas, curve
from chestxray.phantom.chest import Chest, Shadow
from chestxray.phantom.site import Site


def expose(canvas: Canvas, absorbed: Array, view: str, site: Site, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the film's response to an absorption: grey levels, uint8, with scatter, grain, letters and collimation."""
    portable = view == "AP"
    scatter = rng.uniform(0.15, 0.4) if portable else rng.uniform(0.0, 0.12)
    absorbed = (1 - scatter) * absorbed + scatter * canvas.blur(absorbed, 3.0)
    slope = rng.normal(3.5, 0.3) - 0.3 * portable
    middle = rng.normal(0.53, 0.035) - 0.02 * portable + site.exposure
    grey = 255 / (1 + np.exp(np.float32(-slope) * (absorbed - np.float32(middle))))
    dark = rng.uniform(20, 45)
    bright = rng.uniform(0, 14)
    grey = (grey - dark) * np.float32((255 - bright) / (255 - dark))
    grain = rng.standard_normal(grey.shape, dtype=np.float32) + 0.6 * canvas.noise(rng, 0.25)
    grey += canvas.blur(grain, 0.05) * np.float32(rng.uniform(1.8, 3.2) * (1.5 if portable else 1.0) * site.grain)
    grey = collimate(canvas, add_letters(canvas, grey, view, rng), rng)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def add_letters(canvas: Canvas, grey: Array, view: str, rng: np.random.Generator) -> Array:
    """Add side markers, and what a portable machine prints."""
    layer = np.zeros((canvas.size, canvas.size), np.uint8)
    side = LEFT if rng.random() < 0.75 else RIGHT
    words = [("L" if side == LEFT else "R", FIELD / 2 + side * rng.uniform(14.5, 17) - 0.7, rng.uniform(3.2, 5.5), 1.5)]
    if rng.random() < 0.5:
        initials = "".join(rng.choice(list("ABDHJKMO"), 2))
        words.append((initials, words[0][1] - 0.4, words[0][2] + 1.2, 0.8))
    if view == "AP" and rng.random() < 0.6:
        words.append((str(rng.choice(["PORTABLE", "AP", "AP SUPINE", "SEMI-ERECT"])), rng.uniform(0.8, 3), 1.3, 0.75))
    scale = canvas.size / FIELD
    for text, x, y, height in words:
        where = (round(x * scale), round(y * scale))
        font = height * scale / 22
        cv2.putText(layer, text, where, cv2.FONT_HERSHEY_SIMPLEX, font, 255, max(1, round(font * 2)), cv2.LINE_AA)
    ink = layer.astype(np.float32) / 255
    return grey + ink * (np.float32(rng.uniform(225, 250)) - grey)


def collimate(canvas: Canvas, grey: Array, rng: np.random.Generator) -> Array:
    """Shut the edges of the field, on some studies: white or black bands, not quite straight."""
    kind = rng.random()
    if kind < 0.5:
        return grey
    inset = rng.uniform(-1.0, 1.6, 4) * np.array([1.0, 0.7, 1.0, 1.4])
    tilt = rng.uniform(-0.25, 0.25)
    left, top = inset[:2]
    right, bottom = FIELD - inset[2:]
    corners = np.array([(left, top + tilt), (right, top - tilt), (right - tilt, bottom), (left - tilt, bottom + tilt)])
    upright = Canvas.posed(canvas.size, 1.0, 0.0, (0.0, 0.0))
    opening = upright.fill(corners - (FIELD / 2, 0), softness=0.12)
    shut = np.float32(rng.uniform(225, 250) if kind < 0.75 else rng.uniform(0, 12))
    return shut + opening * (grey - shut)


def leads(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw electrodes of a heart monitor and their wires."""
    layer = np.zeros_like(chest.soft)
    for _ in range(rng.integers(2, 5)):
        side = int(rng.choice([LEFT, RIGHT]))
        x = side * rng.uniform(4, 12)
        y = rng.uniform(9, 26)
        end = (side * rng.uniform(8, 21), rng.choice([-1.0, 41.0]))
        wire = curve([(x, y), (x + rng.normal(side, 2), (y + end[1]) / 2 + rng.normal(0, 2)), end])
        layer += 0.09 * chest.canvas.stroke([wire], [0.16], [1.0])
        layer += 0.14 * chest.canvas.ellipse((x, y), (0.45, 0.45), 0, 0.12)
    return layer


def tube(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a breathing tube in the trachea, or a feeding tube through the gullet to the stomach."""
    a = chest.anatomy
    if rng.random() < 0.5:
        path = curve([(0.2, -1), (a.shift * 0.5, 5), (a.shift, a.hilum - rng.uniform(4, 7))])
        width = 0.75
    else:
        path = curve([(0.1, -1), (a.shift, 12), (0.6, a.dome_left), (4.5, a.dome_left + 4.5), (3, 38)])
        width = 0.35
    outer, inner = (chest.canvas.stroke([path], [w], [1.0]) for w in (width, width / 2))
    return np.float32(0.09) * (outer - np.float32(0.5) * inner)


def catheter(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a central line from the neck or the arm to the superior vena cava."""
    a = chest.anatomy
    start = [(-4.5, 0), (-3, 5)] if rng.random() < 0.5 else [(-16, 13), (-10, a.apex + 2.6)]
    path = curve([*start, (-2.4, a.apex + 3.5), (-2.6 + a.shift, a.hilum - rng.uniform(-1.5, 1.0))])
    return 0.10 * chest.canvas.stroke([path], [0.22], [1.0])


def pacemaker(chest: Chest, rng: np.random.Generator) -> Array:
    """Draw a generator below the left clavicle and its lead to the right ventricle."""
    a = chest.anatomy
    x = rng.uniform(9, 11)
    y = a.apex + rng.uniform(3.6, 4.8)
    lead = curve([(x, y), (6, a.apex + 2.2), (-1.5, a.apex + 4), (-2.6, a.hilum), (0, a.dome_left - 2.5),
                  (a.heart_left * 0.6, a.dome_left - 0.4)])  # fmt: skip
    case = chest.canvas.ellipse((x, y), (2.3, 1.9), 15, 0.15)
    return 0.7 * case + 0.16 * chest.canvas.stroke([lead], [0.2], [1.0])


DEVICES = {leads: (0.03, 0.35), tube: (0.01, 0.2), catheter: (0.02, 0.25), pacemaker: (0.02, 0.04)}
"""Share of PA and of AP studies with each device, whatever the findings."""


def draw_devices(chest: Chest, view: str, rng: np.random.Generator) -> list[Shadow]:
    """Draw the devices of one study, each or none by its share."""
    return [Shadow(density=draw(chest, rng)) for draw, odds in DEVICES.items() if rng.random() < odds[view == "AP"]]
