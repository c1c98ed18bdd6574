"""The images that the input gate learns from: of one size and type, the same for the same seed, and of their kind."""

import numpy as np
import pytest

from chestxray.training.unlike_images import NAMED, OTHER, Draw, altered

IMAGE = np.add.outer(np.arange(96), np.arange(96) // 2).astype(np.uint8)
DRAWS = {"altered": altered, **NAMED, **OTHER}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_an_image_of_the_same_size_comes_out_the_same_for_the_same_seed(draw: Draw) -> None:
    before = IMAGE.copy()
    for seed in range(8):
        image, again, other = (draw(IMAGE, np.random.default_rng(number)) for number in (seed, seed, seed + 100))
        assert image.shape == IMAGE.shape and image.dtype == np.uint8
        np.testing.assert_array_equal(image, again)
        assert draw is NAMED["inverted"] or draw in NAMED.values() or not np.array_equal(image, other)
    np.testing.assert_array_equal(IMAGE, before)


def test_the_named_kinds_are_the_image_turned_over() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(NAMED["inverted"](IMAGE, rng), 255 - IMAGE)
    for _ in range(8):
        upside_down, sideways = NAMED["upside-down"](IMAGE, rng), NAMED["sideways"](IMAGE, rng)
        assert any(np.array_equal(upside_down, way) for way in (IMAGE[::-1], IMAGE[::-1, ::-1]))
        assert sideways.mean() == IMAGE.mean() and not np.array_equal(sideways, IMAGE)


def test_altered_images_are_still_like_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        changed = altered(IMAGE, rng)[20:-20, 20:-20].ravel().astype(float)
        assert np.corrcoef(changed, IMAGE[20:-20, 20:-20].ravel())[0, 1] > 0.8
