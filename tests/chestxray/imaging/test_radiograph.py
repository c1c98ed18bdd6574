"""Resizing keeps areas, and a refusal is an error that a person can mend."""

import numpy as np

from chestxray.errors import UserError
from chestxray.imaging.radiograph import RadiographError, resize
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
