"""The measures of a chest: what an exposure at the bedside changes."""

from chestxray.phantom.anatomy import breathe
from tests.chestxray.phantom.drawing import anatomy


def test_a_portable_exposure_magnifies_the_heart_and_lifts_the_diaphragm() -> None:
    standing, lying = (breathe(anatomy(1), view, 0.0) for view in ("PA", "AP"))
    assert lying.cardiothoracic_ratio > 1.03 * standing.cardiothoracic_ratio
    assert lying.dome_right < standing.dome_right
