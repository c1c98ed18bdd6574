"""What a header leaves out has one meaning or is refused by its name."""

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, uid

from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import Radiograph, RadiographError
from tests.dicom_files import RAMP, dataset_of, dicom, look_up, written

DEEP = RAMP.astype(np.uint16) * 16
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
CAPTURES = [uid.SecondaryCaptureImageStorage, *(f"{uid.SecondaryCaptureImageStorage}.{part}" for part in (2, 3, 4))]


def without(*names: str, **elements: Any) -> bytes:
    """A file of 12 bits that lacks elements."""
    dataset = dataset_of(DEEP, 12, **WINDOW | elements)
    for name in names:
        delattr(dataset, name)
    return written(dataset)


def names(radiograph: Radiograph) -> list[str]:
    """The names of its checks."""
    return [check.name for check in radiograph.checks]


EXPECTED = decode(dicom(DEEP, bits=12, **WINDOW)).pixels


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (["SOPClassUID", "Modality"], []),
        (["SOPClassUID"], []),
        (["Modality"], []),
        (["HighBit"], []),
        (["SamplesPerPixel"], []),
        (["PixelRepresentation"], ["pixel-representation"]),
    ],
    ids=str,
)
def test_what_has_one_meaning_may_be_absent(absent: list[str], said: list[str]) -> None:
    radiograph = decode(without(*absent))
    assert np.array_equal(radiograph.pixels, EXPECTED) and names(radiograph) == said


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "OT", "cr ", "", None])
@pytest.mark.parametrize("storage", CAPTURES)
def test_secondary_captures_of_films_are_taken(storage: str, modality: str | None) -> None:
    data = without(SOPClassUID=storage, Modality=modality, NumberOfFrames=1)
    assert np.array_equal(decode(data).pixels, EXPECTED)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": uid.CTImageStorage}, "SOPClassUID is not of CR, DX or secondary capture"),
        ({"Modality": "MG"}, "Modality is not CR, DX, DR, RG or OT"),
        ({"NumberOfFrames": 2}, "NumberOfFrames is 2; one frame"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PhotometricInterpretation is not MONOCHROME1"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation is absent"),
        ({"SamplesPerPixel": 4}, "SamplesPerPixel 4"),
        ({"BitsAllocated": 32}, "BitsAllocated is 32; 8 and 16"),
        ({"BitsAllocated": None}, "BitsAllocated is absent"),
        ({"BitsStored": 5}, "BitsStored is 5"),
        ({"BitsStored": 17}, "BitsStored is 17"),
        ({"Rows": None}, "Rows is absent"),
        ({"Columns": 0}, "Columns is absent or no number above 0"),
    ],
    ids=str,
)
def test_refusals_name_the_element(elements: dict[str, Any], reason: str) -> None:
    with pytest.raises(RadiographError, match=reason):
        decode(dicom(DEEP, bits=12, **WINDOW | elements) if elements else b"")


def test_a_data_set_that_says_nothing_of_its_origin_is_refused() -> None:
    dataset = dataset_of(DEEP, 12, **WINDOW)
    del dataset.SOPClassUID, dataset.Modality
    data = written(dataset).replace(b"\x02\x00\x02\x00UI", b"\x02\x00\x03\x00UI", 1)
    with pytest.raises(RadiographError, match="neither SOPClassUID nor Modality"):
        decode(data)


def test_bits_above_the_lowest_are_shifted_down() -> None:
    """As was legal until 2006; with what the codecs give there is nothing to shift."""
    for syntax in (uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless):
        high = decode(dicom(DEEP << 4, syntax, 12, HighBit=15, **WINDOW))
        assert np.array_equal(high.pixels, EXPECTED) and names(high) == []
    for bit in (3, 16):
        odd = decode(dicom(DEEP, bits=12, HighBit=bit, **WINDOW))
        assert np.array_equal(odd.pixels, EXPECTED) and names(odd) == ["high-bit"]


@pytest.mark.parametrize("bits", [6, 7])
def test_six_and_seven_bits_fill_the_scale(bits: int) -> None:
    few = RAMP >> 8 - bits
    assert np.abs(decode(dicom(few, bits=bits)).pixels - few * (255 / ((1 << bits) - 1))).max() <= 0.5


def test_keywords_may_be_in_lower_case_and_padded() -> None:
    odd = {"PhotometricInterpretation": " monochrome2 ", "VOILUTFunction": "linear ", "Modality": " cr"}
    assert np.array_equal(decode(dicom(DEEP, bits=12, **WINDOW | odd)).pixels, EXPECTED)


def test_empty_items_of_look_up_tables_count_as_none() -> None:
    half = Dataset()
    half.LUTDescriptor, half.LUTData = [4096, 0, 12], b""
    half["LUTDescriptor"].VR, half["LUTData"].VR = "US", "OW"
    for items in ([Dataset()], [half], [half, Dataset()]):
        radiograph = decode(dicom(DEEP, bits=12, VOILUTSequence=items, ModalityLUTSequence=items, **WINDOW))
        assert np.array_equal(radiograph.pixels, EXPECTED) and names(radiograph) == []


def test_a_film_may_carry_many_long_look_up_tables() -> None:
    identity = look_up(np.arange(65536, dtype="<u2"), 16)
    levels = decode(dicom(DEEP << 4, VOILUTSequence=[identity] * 15)).pixels
    assert np.abs(levels - (DEEP << 4) * (255 / 65535)).max() <= 0.51
