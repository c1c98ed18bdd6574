"""Resizing keeps areas, and a refusal is an error that a person can mend."""

import numpy as np
import pytest

from chestxray.errors import UserError
from chestxray.imaging.radiograph import RadiographError, fit, resize
from tests.nih_batch import noise


def test_resizing_averages_areas() -> None:
    blocks = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert np.array_equal(resize(np.kron(blocks, np.ones((8, 8), np.uint8)), 4), blocks)


def test_resizing_makes_a_square_of_bytes() -> None:
    resized = resize(noise(0, (30, 50)), 16)
    assert resized.shape == (16, 16) and resized.dtype == np.uint8


def test_a_refusal_is_an_error_of_the_user_with_a_kind_for_programs() -> None:
    error = RadiographError("too dark", "not-a-radiograph")
    assert isinstance(error, UserError) and (str(error), error.kind) == ("too dark", "not-a-radiograph")
    assert RadiographError("damaged").kind == "unreadable-image"


@pytest.mark.parametrize("shape", [(1, 3000), (40, 30), (512, 512), (2000, 1000)])
def test_a_picture_keeps_its_proportions(shape: tuple[int, int]) -> None:
    picture = fit(np.full(shape, 77, np.uint8), 512)
    assert max(picture.shape) == 512 and min(picture.shape) == max(1, round(512 * min(shape) / max(shape)))
    assert picture.dtype == np.uint8 and (picture == 77).all()
