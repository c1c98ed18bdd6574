"""Images that can't be chest radiographs are refused, doubtful ones are answered with a warning."""

import numpy as np
import pytest

from chestxray.imaging.quality import MAX_ASPECT, MIN_SIDE, check_accepted, overall_verdict, quality_checks
from chestxray.imaging.radiograph import Check, Radiograph, RadiographError


def radiograph(height: int, width: int, brightest: int = 255, checks: tuple[Check, ...] = ()) -> Radiograph:
    pixels = np.linspace(0, brightest, height * width).round().astype(np.uint8).reshape(height, width)
    return Radiograph(pixels, "PNG", 8, None, checks)


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
    with pytest.raises(RadiographError, match="the same"):
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
