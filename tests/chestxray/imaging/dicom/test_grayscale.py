"""Stored values come out as the grey levels that a viewer shows."""

import numpy as np
import pytest
from pydicom import uid

from chestxray.imaging.decode import decode
from tests.dicom_files import FULL, RAMP, dicom, look_up


def shades(values: np.ndarray, bits: int | None = None, **elements: object) -> np.ndarray:
    """The grey levels of native values."""
    return decode(dicom(values, bits=bits, **elements)).pixels


def test_signed_values_and_rescaling() -> None:
    signed = RAMP.astype(np.int16) - 100
    assert np.array_equal(shades(signed, 12, WindowCenter=28, WindowWidth=256), RAMP)
    rescaled = shades(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-744.5, WindowWidth=511)
    assert np.abs(rescaled.astype(int) - RAMP).max() <= 1


def test_monochrome1_is_the_inverse() -> None:
    assert np.array_equal(shades(RAMP, PhotometricInterpretation="MONOCHROME1", **FULL), 255 - shades(RAMP, **FULL))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda x: np.clip((x - 99.5) / 49 + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda x: np.clip((x - 100) / 50 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 100) / 50))),
    ],
)
def test_windows_are_those_of_the_standard(function: str, expected) -> None:
    """PS3.3, C.11.2.1."""
    windowed = shades(RAMP, WindowCenter=[100, 7], WindowWidth=[50, 9], VOILUTFunction=function)
    assert np.abs(windowed - 255 * expected(RAMP.astype(float))).max() <= 0.51


@pytest.mark.parametrize("kind", ["u1", "<u2"])
def test_look_up_tables_are_looked_up(kind: str) -> None:
    inverse = look_up(np.arange(255, -1, -1).astype(kind), 8)
    assert np.array_equal(shades(RAMP, VOILUTSequence=[inverse]), 255 - RAMP)
    assert np.array_equal(shades(RAMP, ModalityLUTSequence=[inverse], **FULL), 255 - RAMP)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize(("count", "first"), [(4096, 0), (4096, -1000), (1000, 500), (65536, -1000), (30_000, -30_000)])
@pytest.mark.parametrize("bits", [8, 16])
def test_look_up_tables_may_be_long_and_begin_anywhere(syntax: str, count: int, first: int, bits: int) -> None:
    """Root of the place in the table, of which values beyond its ends get the first and the last entry."""
    entries = np.rint(np.sqrt(np.arange(count) / count) * ((1 << bits) - 1)).astype("<u2")
    signed = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
    levels = decode(dicom(signed, syntax, 12, VOILUTSequence=[look_up(entries, bits, first)])).pixels
    expected = np.sqrt(np.clip(signed.astype(int) - first, 0, count - 1) / count) * 255
    assert np.abs(levels - expected).max() <= 1


def test_look_up_tables_follow_steep_rescaling() -> None:
    """Values outside 16 bits are beyond the end of the table, not around it."""
    inverse = look_up(np.arange(255, -1, -1).astype("<u2"), 8)
    steep = shades(RAMP, RescaleSlope=1000, RescaleIntercept=0, VOILUTSequence=[inverse])
    assert np.array_equal(steep, np.where(RAMP == 0, 255, 0))


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit"])
def test_what_is_empty_is_absent(name: str) -> None:
    rescale = {"RescaleSlope": 1, "RescaleIntercept": 0}
    assert np.array_equal(shades(RAMP, **(FULL | rescale | {name: None})), shades(RAMP, **FULL))


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 10, "WindowWidth": 0}, {"WindowCenter": 10}])
def test_without_a_window_the_values_make_the_range(window: dict[str, float]) -> None:
    deep = np.linspace(1000, 60_000, 100 * 100).reshape(100, 100).astype(np.uint16)
    deep[0, 0], deep[-1, -1] = 0, 65_535  # dead pixels
    levels = shades(deep, **window)
    assert np.abs(levels - np.clip((deep - 1000.0) / 59_000, 0, 1) * 255).max() < 2
    assert (levels.min(), levels.max()) == (0, 255)


def test_padding_is_black_and_outside_the_range() -> None:
    padded = RAMP.astype(np.uint16) + 100
    padded[:9] = 60_000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        levels = shades(padded, PixelPaddingValue=60_000, PhotometricInterpretation=photometric)
        assert not levels[:9].any() and levels[9:].std() > 50
