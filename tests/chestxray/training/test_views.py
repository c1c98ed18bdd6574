"""Views of an image: two exact ones, the others within their ranges and a function of the image's name alone."""

import hashlib

import cv2
import numpy as np
import pytest

from chestxray.params import FeaturesParams
from chestxray.training.views import views
from tests.chestxray.conftest import SIZE, VIEWS

INPUT = 64
STILL = FeaturesParams(
    views=4,
    cache_activations=True,
    rotation=0,
    scale=(1, 1),
    shift=0,
    gamma=0,
    contrast=(1, 1),
    brightness=0,
    seed=1,
)
KEYS = [hashlib.sha256(bytes([n])).hexdigest() for n in range(40)]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(256, size=(SIZE, SIZE), dtype=np.uint8)


def still(**changes: object) -> FeaturesParams:
    return FeaturesParams.model_validate(STILL.model_dump() | changes)


def blob(x: float, y: float, side: int = 256) -> np.ndarray:
    """A bright, soft dot on black."""
    rows, columns = np.mgrid[:side, :side]
    return np.rint(250 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18)).astype(np.uint8)


def centroid(view: np.ndarray) -> np.ndarray:
    """x and y of the dot, from the middle of the view."""
    weights = view[..., 0].astype(float)
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * axis).sum() / weights.sum() for axis in (columns, rows)]) - (weights.shape[0] - 1) / 2


def augmented(params: FeaturesParams, picture: np.ndarray, input_size: int) -> list[np.ndarray]:
    """Views 2 and 3 under forty names; every view 3 is turned back from its mirror image."""
    drawn = [views(picture, input_size, 4, params, key) for key in KEYS]
    return [view for seen in drawn for view in (seen[2], seen[3][:, ::-1])]


def test_the_first_views_are_the_centre_and_its_mirror_image(image: np.ndarray) -> None:
    seen = views(image, INPUT, 4, VIEWS, KEYS[0])
    assert seen.shape == (4, INPUT, INPUT, 1) and seen.dtype == np.uint8
    assert np.array_equal(seen[0, ..., 0], image[4:68, 4:68]) and np.array_equal(seen[1], seen[0][:, ::-1])


def test_a_view_is_the_same_however_many_are_asked_for_and_whenever(image: np.ndarray) -> None:
    seen = views(image, INPUT, 4, VIEWS, KEYS[0])
    other = views(255 - image, INPUT, 4, VIEWS, KEYS[1])
    for count in (1, 2, 3, 4):
        assert np.array_equal(seen[:count], views(image, INPUT, count, VIEWS, KEYS[0]))
    assert np.array_equal(other, views(255 - image, INPUT, 4, VIEWS, KEYS[1]))


def test_another_name_or_seed_draws_other_views(image: np.ndarray) -> None:
    seen = views(image, INPUT, 4, VIEWS, KEYS[0])
    for other in (
        views(image, INPUT, 4, VIEWS, KEYS[1]),
        views(image, INPUT, 4, VIEWS.model_copy(update={"seed": VIEWS.seed + 1}), KEYS[0]),
    ):
        assert np.array_equal(other[:2], seen[:2])
        assert not np.array_equal(other[2], seen[2]) and not np.array_equal(other[3], seen[3])


def test_without_ranges_an_augmented_view_is_the_centre(image: np.ndarray) -> None:
    seen = views(image, INPUT, 4, still(scale=(SIZE / INPUT, SIZE / INPUT)), KEYS[0])
    assert np.array_equal(seen[2], seen[0]) and np.array_equal(seen[3], seen[1])


def test_scale_one_shows_the_whole_image() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(2).integers(256, size=(128, 128), dtype=np.uint8), (0, 0), 4)
    seen = views(smooth, 64, 3, STILL, KEYS[0])[2, ..., 0]
    # Same part of the picture; the interpolations differ a little.
    np.testing.assert_allclose(seen.astype(int), cv2.resize(smooth, (64, 64)).astype(int), atol=4)


def test_a_dot_in_the_middle_moves_by_at_most_the_shift() -> None:
    moved = np.array([centroid(view) for view in augmented(still(shift=0.1), blob(127.5, 127.5), 224)])
    assert (np.abs(moved) <= 0.1 * 224 + 0.1).all()
    assert (moved.min(axis=0) < -0.07 * 224).all() and (moved.max(axis=0) > 0.07 * 224).all()


def test_a_dot_away_from_the_middle_turns_by_at_most_the_rotation_and_keeps_its_distance() -> None:
    places = np.array([centroid(view) for view in augmented(still(rotation=10), blob(197.5, 127.5), 256)])
    angles = np.degrees(np.arctan2(places[:, 1], places[:, 0]))
    np.testing.assert_allclose(np.hypot(*places.T), 70, atol=0.2)
    assert (np.abs(angles) <= 10.1).all() and angles.min() < -7 and angles.max() > 7


def test_a_dot_away_from_the_middle_goes_out_and_in_by_the_scale() -> None:
    places = np.array([centroid(view) for view in augmented(still(scale=(0.8, 1.2)), blob(197.5, 127.5), 256)])
    assert (places[:, 0] >= 0.8 * 70 - 0.2).all() and (places[:, 0] <= 1.2 * 70 + 0.2).all()
    assert np.ptp(places[:, 0]) > 0.3 * 70


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [
        ({"brightness": 0.1}, 100 - 25.5, 100 + 25.5),
        ({"contrast": (0.5, 1.5)}, 127.5 - 1.5 * 27.5, 127.5 - 0.5 * 27.5),
        ({"gamma": 0.3}, 255 * (100 / 255) ** np.exp(0.3), 255 * (100 / 255) ** np.exp(-0.3)),
    ],
)
def test_exposure_stays_within_its_range_and_uses_it(changes: dict[str, object], low: float, high: float) -> None:
    levels = [int(view[32, 32, 0]) for view in augmented(still(**changes), np.full((64, 64), 100, np.uint8), 64)]
    assert low - 0.5 <= min(levels) and max(levels) <= high + 0.5
    assert max(levels) - min(levels) > 0.7 * (high - low)


def test_exposure_keeps_the_order_of_grey_levels() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    params = still(gamma=1.0, contrast=(0.2, 3.0), brightness=0.9)
    for view in augmented(params, ramp, 256):
        assert (np.diff(view[128, :, 0].astype(int)) >= 0).all()
