"""What a model says of a file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import MAX_PIXELS, RadiographError, resize
from chestxray.inference.bundle import Bundle
from chestxray.inference.decisions import choose_thresholds
from chestxray.inference.predict import predict_file
from tests.serve.bundles import SIZE, make_bundle
from tests.serve.files import PNG


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(make_bundle(tmp_path))


def test_it_is_what_the_bundle_says_of_the_resized_pixels(bundle: Bundle) -> None:
    prediction = predict_file(bundle, PNG, MAX_PIXELS, choose_thresholds(bundle.card))
    (probabilities,), (maps,) = bundle.predict(resize(decode(PNG).pixels, SIZE)[None, ..., None])
    assert np.array_equal(prediction.probabilities, probabilities) and np.array_equal(prediction.maps, maps)
    assert np.array_equal(prediction.decisions, probabilities >= bundle.thresholds)
    assert prediction.checks == [] and prediction.decode_seconds > 0 and prediction.inference_seconds > 0


@pytest.mark.parametrize(("threshold", "called"), [(0.0, 14), (1.0, 0)])
def test_a_threshold_overrides_every_operating_point(bundle: Bundle, threshold: float, called: int) -> None:
    prediction = predict_file(bundle, PNG, MAX_PIXELS, choose_thresholds(bundle.card, threshold=threshold))
    assert set(prediction.thresholds.values) == {threshold} and prediction.decisions.sum() == called


@pytest.mark.parametrize("data", [b"garbage", PNG[:80]])
def test_what_can_not_be_used_is_refused(bundle: Bundle, data: bytes) -> None:
    with pytest.raises(RadiographError):
        predict_file(bundle, data, MAX_PIXELS, choose_thresholds(bundle.card))


def test_an_image_that_a_check_refuses_is_answered_only_when_asked_for(bundle: Bundle) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((96, 96), 7, np.uint8)).save(file, "PNG")
    with pytest.raises(RadiographError, match="the same") as raised:
        predict_file(bundle, file.getvalue(), MAX_PIXELS, choose_thresholds(bundle.card))
    assert raised.value.kind == "not-a-radiograph"
    (check,) = predict_file(
        bundle, file.getvalue(), MAX_PIXELS, choose_thresholds(bundle.card), accept_anyway=True
    ).checks
    assert (check.name, check.verdict) == ("blank", "refused")
