"""Images that can't be chest radiographs are refused, doubtful ones are answered with a warning."""

import numpy as np
import pytest

from chestxray.imaging.decode import decode
from chestxray.imaging.quality import MAX_ASPECT, MIN_SIDE, check_plausible, check_scale, image_warnings
from chestxray.imaging.radiograph import Radiograph, RadiographError
from tests.nih_batch import noise, png


def radiograph(height: int, width: int, view: str | None = None, brightest: int = 255) -> Radiograph:
    pixels = np.linspace(0, brightest, height * width).round().astype(np.uint8).reshape(height, width)
    return Radiograph(pixels, "PNG", 8, view)


@pytest.mark.parametrize(("height", "width"), [(MIN_SIDE, MIN_SIDE), (40, int(40 * MAX_ASPECT)), (2000, 1600)])
def test_images_in_which_a_chest_can_be_seen_pass(height: int, width: int) -> None:
    check_plausible(radiograph(height, width))


@pytest.mark.parametrize(("height", "width"), [(MIN_SIDE - 1, 100), (100, MIN_SIDE - 1), (40, 161), (161, 40)])
def test_images_too_small_or_too_long_are_refused_with_their_size(height: int, width: int) -> None:
    with pytest.raises(RadiographError, match=f"{width}×{height} pixels") as raised:
        check_plausible(radiograph(height, width))
    assert raised.value.kind == "not-a-radiograph"


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_image_of_one_grey_is_refused(grey: int) -> None:
    with pytest.raises(RadiographError, match="the same"):
        check_plausible(Radiograph(np.full((64, 64), grey, np.uint8), "JPEG", 8))


@pytest.mark.parametrize(("brightest", "refused"), [(1023, True), (4095, True), (4500, False), (65535, False)])
def test_values_of_12_bits_left_unscaled_in_a_png_of_16_are_refused(brightest: int, refused: bool) -> None:
    decoded = decode(png(np.linspace(0, brightest, 64 * 64).astype(np.uint16).reshape(64, 64)))
    if not refused:
        check_scale(decoded)
        return
    with pytest.raises(RadiographError, match="12 bits or fewer; scale them to 0–65535"):
        check_scale(decoded)
    with pytest.raises(RadiographError, match="12 bits or fewer"):
        check_plausible(decoded)


def test_a_dark_image_of_8_bits_is_not_taken_for_an_unscaled_one() -> None:
    check_scale(decode(png(noise(0, (64, 64)) // 16)))


@pytest.mark.parametrize(
    ("image", "warning"),
    [
        (radiograph(223, 300), "smaller than the 224×224"),
        (radiograph(300, 460), "far from square"),
        (radiograph(300, 300, brightest=64), "less than a quarter of the scale"),
        (radiograph(300, 300, view="LL"), "not a frontal view"),
    ],
)
def test_each_doubt_is_told(image: Radiograph, warning: str) -> None:
    (said,) = image_warnings(image, 224)
    assert warning in said


@pytest.mark.parametrize("view", [None, "PA", "AP"])
def test_an_ordinary_image_raises_no_doubt(view: str | None) -> None:
    assert image_warnings(radiograph(300, 450, view, brightest=65), 224) == []
