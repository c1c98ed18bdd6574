"""Images that can't be chest radiographs are refused, doubtful ones are answered with a warning."""

from pathlib import Path

import numpy as np
import pytest

from chestxray.imaging.decode import decode
from chestxray.imaging.quality import MAX_ASPECT, MIN_SIDE, check_accepted, overall_verdict, quality_checks
from chestxray.imaging.radiograph import Check, Radiograph, RadiographError


def radiograph(height: int, width: int, brightest: int = 255, checks: tuple[Check, ...] = ()) -> Radiograph:
    pixels = np.linspace(0, brightest, height * width).round().astype(np.uint8).reshape(height, width)
    return Radiograph(pixels, "PNG", 8, checks=checks)


@pytest.mark.parametrize(("height", "width"), [(MIN_SIDE, MIN_SIDE), (40, int(40 * MAX_ASPECT)), (2000, 1600)])
def test_images_in_which_a_chest_can_be_seen_pass(height: int, width: int) -> None:
    check_accepted(quality_checks(radiograph(height, width), 32))


@pytest.mark.parametrize(("height", "width"), [(MIN_SIDE - 1, 100), (100, MIN_SIDE - 1), (40, 161), (161, 40)])
def test_images_too_small_or_too_long_are_refused_with_their_size(height: int, width: int) -> None:
    with pytest.raises(RadiographError, match=f"{width}×{height} pixels") as raised:
        check_accepted(quality_checks(radiograph(height, width), 32))
    assert raised.value.kind == "not-a-radiograph"
    assert {check.name for check in raised.value.checks} <= {"image-size", "proportions"}


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_image_of_one_grey_is_refused(grey: int) -> None:
    with pytest.raises(RadiographError, match="the same grey"):
        check_accepted(quality_checks(Radiograph(np.full((64, 64), grey, np.uint8), "JPEG", 8), 32))


@pytest.mark.parametrize(
    ("image", "name", "sentence"),
    [
        (radiograph(223, 300), "image-size", "fewer than the 224×224"),
        (radiograph(300, 460), "proportions", "squeezed into a square"),
        (radiograph(300, 300, brightest=64), "grey-range", "less than a quarter of the scale"),
        (radiograph(300, 300, checks=(Check("view-position", "warned", "No view."),)), "view-position", "No view."),
    ],
)
def test_each_doubt_is_told(image: Radiograph, name: str, sentence: str) -> None:
    (check,) = quality_checks(image, 224)
    assert (check.name, check.verdict) == (name, "warned") and sentence in check.message


def test_an_ordinary_image_raises_no_doubt() -> None:
    assert quality_checks(radiograph(300, 450, brightest=65), 224) == []


def shares(**pixels: int) -> Radiograph:
    """Return an image of 100 × 100 with so many pixels of a grey level, the others spread over the scale."""
    levels = np.repeat(np.linspace(1, 254, 254).astype(np.uint8), 40)[:10_000]
    place = 0
    for name, count in pixels.items():
        levels[place : place + count] = int(name.removeprefix("level"))
        place += count
    return Radiograph(levels.reshape(100, 100), "PNG", 8)


@pytest.mark.parametrize(
    ("image", "name", "verdict"),
    [
        (shares(level77=9950), "blank", "refused"),
        (shares(level0=5000, level255=4950), "saturated", "refused"),
        (shares(level0=6500), "saturated", "warned"),
        (Radiograph(np.tile(np.array([60, 200], np.uint8), (100, 50)), "PNG", 1), "grey-levels", "refused"),
        (Radiograph(np.tile(np.arange(0, 240, 16, np.uint8), (100, 10)), "PNG", 8), "grey-levels", "warned"),
    ],
)
def test_pixels_in_which_no_chest_can_be_are_told_with_value_and_limit(
    image: Radiograph, name: str, verdict: str
) -> None:
    check, *_ = quality_checks(image, 32)
    assert (check.name, check.verdict) == (name, verdict)
    assert check.value is not None and check.limit is not None


def test_half_a_film_of_margin_is_no_doubt() -> None:
    assert quality_checks(shares(level0=5000), 32) == []


@pytest.mark.heavy
def test_real_radiographs_pass_all_checks_of_their_pixels(shared: Path) -> None:
    files = [*(shared / "nih-sample" / "images").iterdir(), *(shared / "nih-originals" / "images").iterdir()]
    assert [file.name for file in files if quality_checks(decode(file.read_bytes()), 224)] == []


def test_the_gravest_verdict_counts() -> None:
    warned, refused = Check("a", "warned", "A."), Check("b", "refused", "B.")
    assert overall_verdict([]) == "accepted"
    assert overall_verdict([warned]) == "warned"
    assert overall_verdict([warned, refused]) == "refused"


def test_a_refusal_says_what_refused_and_keeps_all_checks() -> None:
    checks = [Check("a", "warned", "A."), Check("b", "refused", "B."), Check("c", "refused", "C.")]
    with pytest.raises(RadiographError, match=r"^B\. C\.$") as raised:
        check_accepted(checks)
    assert raised.value.checks == tuple(checks)
