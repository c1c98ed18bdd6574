"""Heat lies where the map says, and what speaks against a finding stays dark."""

import numpy as np
from matplotlib import colormaps

from chestxray.inference.caption import captioned
from chestxray.inference.heatmap import COLOURS, overlay, upscale_maps


def test_a_hot_cell_lands_in_its_part_of_the_central_square() -> None:
    maps = np.full((7, 7, 1), -1.0, np.float32)
    maps[1, 5] = 4.0
    heat = upscale_maps(maps, 256, 224)[..., 0]
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    assert 16 + 32 <= y < 16 + 64 and 16 + 160 <= x < 16 + 192
    assert np.isclose(heat.max(), 4.0, rtol=0.05)
    assert heat[:16].max() == heat[:, :16].max() == heat[-16:].max() == heat[:, -16:].max() == 0


def test_negatives_never_look_hot() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(64, 64), dtype=np.uint8)
    heat = upscale_maps(np.full((2, 2, 1), -3.0, np.float32), 64, 64)[..., 0]
    assert np.array_equal(overlay(pixels, heat, 1.0, 0.5), np.dstack([pixels] * 3))
    assert np.array_equal(overlay(pixels, heat, 0.0, 0.5), np.dstack([pixels] * 3))


def test_one_scale_for_an_image_makes_findings_comparable() -> None:
    pixels = np.full((8, 8), 100, np.uint8)
    hot, warm = np.full((8, 8), 4.0, np.float32), np.full((8, 8), 1.0, np.float32)
    change = [np.abs(overlay(pixels, heat, 4.0, 0.5).astype(int) - 100).sum() for heat in (hot, warm)]
    assert change[0] > 3 * change[1] > 0


def test_colours_grow_lighter_evenly() -> None:
    lightness = COLOURS[::4] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert np.array_equal(COLOURS, np.rint(colormaps["inferno"](np.arange(256))[:, :3] * 255))


def test_captions_are_above_and_boxes_inside_the_picture() -> None:
    picture = np.zeros((120, 120, 3), np.uint8)
    shown = captioned(picture, ["one", "two"], [(20, 30, 40, 50)])
    top = shown.shape[0] - 120
    assert top > 0 and (shown[0] == 255).all() and (shown[:top] < 128).any()
    assert (shown[top + 30, 40] == [0, 255, 255]).all() and (shown[top + 60, 40] == 0).all()
