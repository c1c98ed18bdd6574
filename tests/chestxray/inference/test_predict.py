"""What a model says of a file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import MAX_PIXELS, RadiographError, resize
from chestxray.inference.bundle import Bundle
from chestxray.inference.predict import predict_file
from tests.serve.bundles import SIZE, make_bundle
from tests.serve.files import PNG


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(make_bundle(tmp_path))


def test_it_is_what_the_bundle_says_of_the_resized_pixels(bundle: Bundle) -> None:
    prediction = predict_file(bundle, PNG, MAX_PIXELS)
    (probabilities,), (maps,) = bundle.predict(resize(decode(PNG).pixels, SIZE)[None, ..., None])
    assert np.array_equal(prediction.probabilities, probabilities) and np.array_equal(prediction.maps, maps)
    assert np.array_equal(prediction.decisions, probabilities >= bundle.thresholds)
    assert prediction.warnings == [] and prediction.decode_seconds > 0 and prediction.inference_seconds > 0


@pytest.mark.parametrize(("threshold", "called"), [(0.0, 14), (1.0, 0)])
def test_a_threshold_overrides_every_operating_point(bundle: Bundle, threshold: float, called: int) -> None:
    prediction = predict_file(bundle, PNG, MAX_PIXELS, threshold)
    assert set(prediction.thresholds) == {threshold} and prediction.decisions.sum() == called


@pytest.mark.parametrize("data", [b"garbage", PNG[:80]])
def test_what_can_not_be_used_is_refused(bundle: Bundle, data: bytes) -> None:
    with pytest.raises(RadiographError):
        predict_file(bundle, data, MAX_PIXELS)


def sixteen_bits(highest: int) -> bytes:
    pixels = np.random.default_rng(0).integers(highest + 1, size=(96, 96), dtype=np.uint16)
    pixels[0, 0] = highest
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_twelve_bits_left_in_the_lower_part_of_sixteen_are_not_read_as_a_black_image(bundle: Bundle) -> None:
    with pytest.raises(RadiographError, match="grey levels fill 12 bits or fewer; scale them to 0–65535"):
        predict_file(bundle, sixteen_bits(4095), MAX_PIXELS)
    (doubt,) = predict_file(bundle, sixteen_bits(16383), MAX_PIXELS).warnings
    assert "less than a quarter of the scale" in doubt
    assert predict_file(bundle, sixteen_bits(65535), MAX_PIXELS).warnings == []
