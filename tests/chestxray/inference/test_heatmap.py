"""Heat lies where the map says, without edges that the map has not, and what speaks against a finding stays dark."""

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import colormaps

from chestxray.inference.caption import captioned
from chestxray.inference.heatmap import COLOURS, overlay, spread_heat

GREY = np.full((512, 512), 128, np.uint8)


def random_map(seed: int, cells: int = 14) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(cells, cells)).astype(np.float32)


def test_a_hot_cell_lands_in_its_part_of_the_central_square() -> None:
    values = np.full((7, 7), -1.0, np.float32)
    values[1, 5] = 4.0
    heat = spread_heat(values, (256, 512), 224 / 256)
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    assert 16 + 32 <= y < 16 + 64 and 2 * (16 + 160) <= x < 2 * (16 + 192)
    assert np.isclose(heat.max(), 4.0, rtol=0.01)
    assert heat[:16].max() == heat[:, :32].max() == heat[-16:].max() == heat[:, -32:].max() == 0


@pytest.mark.parametrize("cells", [1, 2, 7, 14])
def test_centres_of_cells_keep_their_values_and_those_at_the_border_most_of_them(cells: int) -> None:
    values = random_map(0, cells)
    heat = spread_heat(values, (9 * cells, 3 * cells), 1.0)[4::9, 1::3]
    assert np.allclose(heat[1:-1, 1:-1], np.maximum(values, 0)[1:-1, 1:-1], atol=1e-6)
    hot = values > 0
    kept = heat[hot] / values[hot]
    assert kept.min() > 0.5 and kept.max() < 1 + 1e-6  # a laterality mark in a corner is hidden from nobody


def test_a_slope_stays_a_slope() -> None:
    values = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None], (9, 9))
    heat = spread_heat(values, (90, 90), 1.0)
    inside = slice(15, 75)  # the outermost cells go over into what lies outside
    assert np.allclose(heat[inside, 45], (np.arange(90)[inside] + 0.5) / 10 - 0.5, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_heat_never_goes_beyond_its_neighbours(seed: int) -> None:
    values = np.pad(random_map(seed, 12), 1, constant_values=-1)
    heat = spread_heat(values, (140, 140), 1.0)
    hottest = np.unravel_index(int(values.argmax()), values.shape)
    assert tuple(np.array(np.unravel_index(int(heat.argmax()), heat.shape)) // 10) == hottest
    for y, x in np.ndindex(13, 13):  # between four centres
        four = values[y : y + 2, x : x + 2]
        between = heat[10 * y + 5 : 10 * y + 15, 10 * x + 5 : 10 * x + 15]
        assert between.max() <= max(four.max(), 0) + 1e-6
        assert (between == 0).all() or four.max() > 0


def test_mirrored_maps_give_mirrored_heat() -> None:
    values = random_map(1)
    heat = spread_heat(values, (300, 200), 0.9)
    assert np.allclose(spread_heat(values[:, ::-1], (300, 200), 0.9), heat[:, ::-1], atol=1e-6)
    assert np.allclose(spread_heat(values[::-1], (300, 200), 0.9), heat[::-1], atol=1e-6)


@pytest.mark.parametrize("cells", [7, 14])
def test_nothing_in_a_picture_has_an_edge(cells: int) -> None:
    """Neither the square that the network sees, nor where a map changes sign."""
    hot_everywhere = np.ones((cells, cells), np.float32)
    half = np.where(np.arange(cells) < cells // 2, -1.0, 1.0).astype(np.float32) * hot_everywhere
    for values in (hot_everywhere, half):
        heat = spread_heat(values, GREY.shape, 0.875)
        steepest = 3 / (0.875 * 512 / cells)  # of a cubic that rises by 2 within a cell
        assert max(np.abs(np.diff(heat, axis=axis)).max() for axis in (0, 1)) <= steepest
        shown = overlay(GREY, heat, 1.0, 0.45).astype(int)
        assert max(np.abs(np.diff(shown, axis=axis)).max() for axis in (0, 1)) <= 15 < np.ptp(shown) / 5


def test_faint_heat_is_hardly_seen_and_hidden_heat_not_at_all() -> None:
    heat = np.linspace(0, 1, 512, dtype=np.float32)[None].repeat(512, axis=0)
    shown = overlay(GREY, heat, 1.0, 0.5)[0].astype(int)
    assert np.abs(shown[:51] - 128).max() <= 4 and np.abs(shown[256] - 128).max() > 10
    some = overlay(GREY, heat, 1.0, 0.5, least=0.5)[0].astype(int)
    assert (some[:256] == 128).all() and np.abs(np.diff(some, axis=0)).max() <= 3 and (some[360:] == shown[360:]).all()
    assert np.array_equal(overlay(GREY, heat, 1.0, 0.5, least=1.0), np.dstack([GREY] * 3))


def test_negatives_never_look_hot() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(64, 64), dtype=np.uint8)
    heat = spread_heat(np.full((2, 2), -3.0, np.float32), (64, 64), 1.0)
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
