"""Stored values come out as the grey levels that a viewer shows."""

import numpy as np
import pytest
from pydicom import uid

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import FULL, RAMP, dicom, look_up


def shades(values: np.ndarray, bits: int | None = None, **elements: object) -> np.ndarray:
    """The grey levels of native values."""
    return decode(dicom(values, bits=bits, **elements)).pixels


def said(values: np.ndarray, bits: int | None = None, **elements: object) -> list[str]:
    """The names of the checks."""
    return [check.name for check in decode(dicom(values, bits=bits, **elements)).checks]


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


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": 10},
        {"WindowCenter": 10, "WindowWidth": 0},
        {"WindowCenter": 10, "WindowWidth": 0.5},
        {"WindowCenter": 10, "WindowWidth": -1, "VOILUTFunction": "SIGMOID"},
    ],
)
def test_without_a_window_the_values_make_the_range(window: dict[str, float]) -> None:
    deep = np.linspace(1000, 60_000, 100 * 100).reshape(100, 100).astype(np.uint16)
    deep[0, 0], deep[-1, -1] = 0, 65_535  # dead pixels
    levels = shades(deep, **window)
    assert np.abs(levels - np.clip((deep - 1000.0) / 59_000, 0, 1) * 255).max() < 2
    assert (levels.min(), levels.max()) == (0, 255)
    assert said(deep, **window) == (["window-width", "window"] if window else ["window"])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_eight_bits_without_a_window_are_those_of_the_same_png(kind: type) -> None:
    narrow = (RAMP // 4 + 60).astype(kind)
    assert np.array_equal(shades(narrow, 8), narrow) and said(narrow, 8) == []
    assert np.array_equal(shades(narrow, 8, PhotometricInterpretation="MONOCHROME1"), 255 - narrow)
    assert np.array_equal(shades(narrow, 8, RescaleSlope=2, RescaleIntercept=-1024), narrow)
    assert np.array_equal(shades(narrow, 8, RescaleSlope=-1, RescaleIntercept=0), 255 - narrow)
    signed = (narrow.astype(np.int16) - 128).astype(np.int8)
    assert np.array_equal(shades(signed), narrow)


def test_padding_is_black_and_outside_the_range() -> None:
    padded = RAMP.astype(np.uint16) + 100
    padded[:9] = 60_000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        levels = shades(padded, PixelPaddingValue=60_000, PhotometricInterpretation=photometric)
        assert not levels[:9].any() and levels[9:].std() > 50


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse", "doubtful"),
    [
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME2", "inverse ", True, True),
        ("MONOCHROME1", "IDENTITY", False, True),
        ("MONOCHROME1", "LIN OD", True, True),
        ("MONOCHROME2", "", False, False),
    ],
)
def test_the_presentation_shape_is_followed(photometric: str, shape: str, inverse: bool, doubtful: bool) -> None:
    elements = FULL | {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    assert np.array_equal(shades(RAMP, **elements), 255 - RAMP if inverse else RAMP)
    assert said(RAMP, **elements) == (["presentation-shape"] if doubtful else [])


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_a_width_below_one_is_a_width(function: str) -> None:
    small = {"RescaleSlope": 0.001, "RescaleIntercept": 0, "WindowCenter": 0.1, "WindowWidth": 0.2}
    large = {"WindowCenter": 100, "WindowWidth": 200}
    narrow = shades(RAMP, VOILUTFunction=function, **small)
    assert np.abs(narrow.astype(int) - shades(RAMP, VOILUTFunction=function, **large)).max() <= 1
    tiny = shades(RAMP, VOILUTFunction=function, WindowCenter=100, WindowWidth=1e-300)
    assert np.array_equal(tiny[RAMP != 100], np.where(RAMP > 100, 255, 0)[RAMP != 100])


def test_an_unknown_function_is_linear_and_said() -> None:
    assert np.array_equal(shades(RAMP, VOILUTFunction="CUBIC", **FULL), RAMP)
    assert said(RAMP, VOILUTFunction="CUBIC", **FULL) == ["window-function"]
    assert said(RAMP, VOILUTFunction="DEFAULT", **FULL) == []


@pytest.mark.parametrize(
    "rescale", [{"RescaleSlope": 0, "RescaleIntercept": 50}, {"RescaleSlope": 2}, {"RescaleIntercept": 2}]
)
def test_half_a_rescale_is_none_and_said(rescale: dict[str, float]) -> None:
    assert np.array_equal(shades(RAMP, **FULL, **rescale), RAMP)
    assert said(RAMP, **FULL, **rescale) == ["rescale"]


def test_infinite_values_are_refused() -> None:
    with pytest.raises(RadiographError, match="RescaleSlope"):
        shades(RAMP, RescaleSlope=1e308, RescaleIntercept=0, **FULL)


def test_a_first_value_that_is_coded_unsigned_is_negative_where_values_are() -> None:
    """As DCMTK has it; the standard lets it be signed if the values are."""
    table = look_up(np.arange(256, dtype="<u2") * 257, 16)
    table.LUTDescriptor = [256, 65536 - 100, 16]
    assert np.array_equal(shades(RAMP.astype(np.int16) - 100, 12, VOILUTSequence=[table]), RAMP)
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -100}
    assert np.array_equal(shades(RAMP, VOILUTSequence=[table], **rescale), RAMP)
    assert not shades(RAMP, VOILUTSequence=[table]).any()


def test_a_first_value_that_is_coded_signed_is_not_where_the_table_would_miss_all_values() -> None:
    table = look_up(np.arange(256, dtype="<u2") * 257, 16, first=40_000 - 65536)
    deep = RAMP.astype(np.uint16) + 40_000
    assert np.array_equal(shades(deep, VOILUTSequence=[table]), RAMP)
    reaches = look_up(np.arange(356, dtype="<u2") * 184, 16, first=-100)
    assert np.abs(shades(RAMP, VOILUTSequence=[reaches]) - (RAMP + 100.0) * 184 / 257).max() <= 0.51


@pytest.mark.parametrize(("declared", "scale"), [(16, 65535), (12, 4095), (10, 4095)])
def test_a_table_of_other_bits_than_it_says_is_said(declared: int, scale: int) -> None:
    """Declared deeper than it is, it is shown as dark as DCMTK shows it; declared shallower, nothing is cut off."""
    entries = np.arange(256, dtype="<u2") * 16
    entries[-1] = 4095
    levels = shades(RAMP, VOILUTSequence=[look_up(entries, declared)])
    assert np.abs(levels - entries[RAMP] * (255 / scale)).max() <= 0.51
    assert said(RAMP, VOILUTSequence=[look_up(entries, declared)])[:1] == ([] if declared == 12 else ["look-up-table"])


@pytest.mark.parametrize(
    ("descriptor", "reason"), [([256, 0, 7], "7 bits"), ([257, 0, 8], "fewer entries"), ([256, 0], "three numbers")]
)
def test_damaged_tables_are_refused_by_name(descriptor: list[int], reason: str) -> None:
    table = look_up(np.arange(256, dtype=np.uint8), 8)
    table.LUTDescriptor = descriptor
    with pytest.raises(RadiographError, match=reason):
        shades(RAMP, VOILUTSequence=[table])
