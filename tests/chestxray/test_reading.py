"""What a model says of a file."""

from pathlib import Path

import numpy as np
import pytest

from chestxray.bundle import Bundle
from chestxray.radiograph import MAX_PIXELS, RadiographError, decode, resize
from chestxray.reading import read
from tests.serve.bundles import SIZE, make_bundle
from tests.serve.files import PNG


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(make_bundle(tmp_path))


def test_it_is_what_the_bundle_says_of_the_resized_pixels(bundle: Bundle) -> None:
    reading = read(bundle, PNG, MAX_PIXELS)
    (probabilities,), (maps,) = bundle.predict(resize(decode(PNG).pixels, SIZE)[None, ..., None])
    assert np.array_equal(reading.probabilities, probabilities) and np.array_equal(reading.maps, maps)
    assert np.array_equal(reading.positive, probabilities >= bundle.thresholds)
    assert reading.doubts == [] and reading.decode > 0 and reading.inference > 0


@pytest.mark.parametrize(("threshold", "called"), [(0.0, 14), (1.0, 0)])
def test_a_threshold_overrides_every_operating_point(bundle: Bundle, threshold: float, called: int) -> None:
    reading = read(bundle, PNG, MAX_PIXELS, threshold)
    assert set(reading.thresholds) == {threshold} and reading.positive.sum() == called


@pytest.mark.parametrize("data", [b"garbage", PNG[:80]])
def test_what_can_not_be_used_is_refused(bundle: Bundle, data: bytes) -> None:
    with pytest.raises(RadiographError):
        read(bundle, data, MAX_PIXELS)
