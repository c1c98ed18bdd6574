"""Draw the bones of a phantom chest, in units of the absorption of a normal trunk's soft tissue."""

import itertools

import numpy as np

from chestxray.phantom.anatomy import LEFT, RIGHT, Anatomy, mediastinum, wall
from chestxray.phantom.canvas import Array, Canvas, Points, curve, mirror, ramp


def draw_bones(canvas: Canvas, a: Anatomy) -> Array:
    """Draw ribs, clavicles, shoulder blades, upper arms and spine."""
    back = cortex(canvas, posterior_ribs(a), 0.85, 0.45)
    front = cortex(canvas, anterior_ribs(a), 0.95, 0.45)
    x, _ = canvas.grid
    bones = (
        (0.17 * back + 0.08 * front) * (0.35 + 0.65 * ramp(np.abs(x), 2, 6))
        + draw_girdle(canvas, a)
        + draw_spine(canvas, a)
    )
    return a.bone * canvas.blur(bones, 0.05) + draw_aortic_calcium(canvas, a)


def cortex(canvas: Canvas, paths: list[Points], width: float, marrow: float) -> Array:
    """Draw long bones: dense at their edges, `marrow` times as dense inside."""
    outside, inside = (canvas.stroke(paths, [w] * len(paths), [1.0] * len(paths)) for w in (width, 0.72 * width))
    return outside - np.float32(1 - marrow) * canvas.blur(inside, 0.08)


def posterior_ribs(a: Anatomy) -> list[Points]:
    """Return the back halves of ribs 1 to 10: level at the spine, falling towards the chest wall."""
    edge = wall(a, LEFT)
    t = np.linspace(0, 1, 14)
    ribs = []
    for number in range(10):
        y = a.apex + 0.5 + 2.0 * number
        drop = a.rib_slope * (2.1 + 0.42 * number)
        x = np.interp(y + drop, edge[:, 1], edge[:, 0]) + 0.1
        path = np.column_stack([1.9 + (x - 1.9) * np.sin(t * np.pi / 2) ** 0.9, y - 1.1 * t + (drop + 1.1) * t**2.4])
        ribs += [mirror(path, side) for side in (RIGHT, LEFT)]
    return ribs


def anterior_ribs(a: Anatomy) -> list[Points]:
    """Return the front halves of ribs 1 to 7: from the chest wall down towards the breastbone, up to the cartilage."""
    edge = wall(a, LEFT)
    t = np.linspace(0, 1, 14)
    ribs = []
    for number in range(7):
        y = a.apex + 0.5 + 2.0 * number + a.rib_slope * (2.1 + 0.42 * number)
        fall = a.rib_slope * (2.6 + 0.25 * number)
        inner = 3.6 + 0.75 * number
        x = np.interp(y, edge[:, 1], edge[:, 0]) + 0.1
        path = np.column_stack([x - (x - inner) * (1 - np.cos(t * np.pi / 2)) ** 0.8, y + fall * t])
        ribs += [mirror(path, side) for side in (RIGHT, LEFT)]
    return ribs


def draw_girdle(canvas: Canvas, a: Anatomy) -> Array:
    """Draw clavicles, shoulder blades and the upper arms with their heads."""
    s = a.shoulder
    inner = a.half_width - 1.0 - a.scapula
    collar = curve([(1.7, a.apex + 3.4), (5, a.apex + 2.6), (9.5, a.apex + 1.3 + s), (15.2, 7.9 + s)])
    blade = curve([(inner + 1.6, 9 + s), (inner, 14 + s), (inner + 1.5, 19.5 + s), (inner + 3.3, 16 + s), (17, 9.6 + s),
                   (15.5, 8 + s), (inner + 1.6, 9 + s)], 48)  # fmt: skip
    arm = np.array([(18.6, 10 + s), (21, 22), (24, 36)])
    collars, blades, arms = ([mirror(line, side) for side in (RIGHT, LEFT)] for line in (collar, blade, arm))
    heads = [canvas.ellipse((side * 18.2, 8.8 + s), (2.3, 2.4), 0, 0.7) for side in (RIGHT, LEFT)]
    shoulder_blades = 0.05 * canvas.fill(*blades, softness=0.08) + 0.05 * canvas.stroke(blades, [0.16] * 2, [1.0] * 2)
    clavicles = cortex(canvas, collars, 1.0, 0.55)
    humeri = cortex(canvas, arms, 2.2, 0.5)
    return np.asarray(shoulder_blades + 0.13 * clavicles + 0.12 * humeri + 0.09 * np.maximum(*heads), np.float32)


def draw_aortic_calcium(canvas: Canvas, a: Anatomy) -> Array:
    """Draw the rim of chalk in the wall of an old aortic arch."""
    edge = mediastinum(a, LEFT)
    arc = edge[np.abs(edge[:, 1] - a.arch) < 1.3] - (0.3, 0)
    return 0.12 * a.calcified_aorta * canvas.stroke([arc], [0.16], [1.0])


def draw_spine(canvas: Canvas, a: Anatomy) -> Array:
    """Draw the vertebral bodies with their discs, seen through the mediastinum, and the spinous processes."""
    tops = np.cumsum(np.concatenate([[-1.0], np.linspace(1.5, 3.0, 18)]))
    outline = np.array([(-1, 0), (1, 0), (0.93, 0.5), (1, 1), (-1, 1), (-0.93, 0.5)])
    bodies = [
        outline * (1.15 + 0.018 * top, bottom - top - 0.36) + (0, top + 0.18)
        for top, bottom in itertools.pairwise(tops)
    ]
    spines = [np.array([(0, top + 0.9), (0, top + 2.0)]) for top in tops]
    return 0.075 * canvas.fill(*bodies) + 0.05 * canvas.stroke(spines, [0.35] * len(spines), [1.0] * len(spines))
