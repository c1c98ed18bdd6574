"""Grey levels are those that pydicom and DCMTK make of the same file, within one level, on every variant made here.

Where pydicom leaves something to its caller, or differs by a limit of its own, `pydicom_levels` says so in a comment.
"""

import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.pixels.processing import apply_modality_lut, apply_presentation_lut, apply_voi, apply_windowing

from chestxray.imaging.decode import decode
from tests.dicom_files import HTJ2K, JPEG_2000, JPEG_XL, LOSSLESS_JPEG, LOSSY, NATIVE, SYNTAXES, dicom, look_up

Doubles = npt.NDArray[np.float64]

READ_BY_PYDICOM = (*NATIVE, uid.RLELossless)
READ_BY_DCMTK = (*READ_BY_PYDICOM, *LOSSLESS_JPEG)
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID", None)


@dataclass(frozen=True)
class Variant:
    """A file: its stored values and the elements that say how they are shown."""

    pixels: npt.NDArray[np.generic]
    bits: int
    syntax: str
    elements: dict[str, Any]

    @property
    def data(self) -> bytes:
        """The file."""
        return dicom(self.pixels, self.syntax, self.bits, **self.elements)


@st.composite
def variants(draw: st.DrawFn) -> Variant:
    """Files of every number of bits, with or without a sign, modality and VOI look-up tables, windows and shapes."""
    bits = draw(st.integers(6, 16))
    syntax = draw(st.sampled_from([syntax for syntax in SYNTAXES if syntax not in LOSSY]))
    signed = draw(st.booleans()) and syntax in (*NATIVE, uid.RLELossless)
    if syntax in HTJ2K or (bits < 8 and syntax in (*JPEG_2000, *JPEG_XL)):
        bits = 8 if bits <= 8 else 16  # as many as are written
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(low, high, (16, 24), endpoint=True).astype(kind)
    elements: dict[str, Any] = {"PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))}
    shape = draw(st.sampled_from([None, "IDENTITY", "INVERSE"]))
    if shape:
        elements["PresentationLUTShape"] = shape
    modality, low, high = draw(modalities(low, high))
    return Variant(pixels, bits, syntax, elements | modality | draw(of_interest(low, high)))


@st.composite
def modalities(draw: st.DrawFn, low: int, high: int) -> tuple[dict[str, Any], int, int]:
    """Nothing, a rescale or a modality look-up table, and the range of what comes of it."""
    choice = draw(st.sampled_from(["none", "rescale", "table"]))
    if choice == "rescale":
        slope, intercept = draw(st.sampled_from([1, 2, -1])), draw(st.integers(-1024, 1024))
        ends = low * slope + intercept, high * slope + intercept
        return {"RescaleSlope": slope, "RescaleIntercept": intercept}, min(ends), max(ends)
    if choice == "table":
        count = min(high - low + 1, 4096)
        entries = np.rint(np.sqrt(np.arange(count) / (count - 1)) * 65535).astype("<u2")
        return {"ModalityLUTSequence": [look_up(entries, 16, low)]}, 0, 65535
    return {}, low, high


@st.composite
def of_interest(draw: st.DrawFn, low: int, high: int) -> dict[str, Any]:
    """Nothing, a window or a VOI look-up table over a range of values."""
    choice = draw(st.sampled_from(["none", "window", "table"]))
    span = high - low
    if choice == "window":
        function = draw(st.sampled_from(FUNCTIONS))
        width = draw(st.integers(1, 2 * span))
        window = {"WindowCenter": low + draw(st.integers(0, span)), "WindowWidth": width}
        return window | ({"VOILUTFunction": function} if function else {})
    if choice == "table":
        bits = draw(st.integers(10, 16))
        count = draw(st.integers(256, 65536))
        first = max(min(low + draw(st.integers(0, span)), 32767 if low < 0 else 65535), -32768)
        entries = np.rint((np.arange(count) / (count - 1)) ** 2 * ((1 << bits) - 1)).astype("<u2")
        return {"VOILUTSequence": [look_up(entries, bits, first)]}
    return {}


def pydicom_levels(variant: Variant) -> Doubles:
    """The grey levels by pydicom's functions, 0–255."""
    dataset = pydicom.dcmread(io.BytesIO(variant.data))
    # pydicom needs plug-ins for the others.
    stored = dataset.pixel_array if variant.syntax in READ_BY_PYDICOM else variant.pixels
    # In the type of the pixels, differences from the first value of a table may wrap.
    values = apply_modality_lut(stored.astype(np.int32), dataset)
    if dataset.get("VOILUTSequence"):
        # Without a value representation pydicom goes by the sign of the stored values, not of the rescaled ones.
        count, first, bits = variant.elements["VOILUTSequence"][0].LUTDescriptor
        dataset.VOILUTSequence[0].LUTDescriptor = [count, first, bits]
        # Differences beyond 16 bits would wrap too.
        reachable = np.minimum(values.astype(np.int64), first + (count or 65536) - 1)
        levels = apply_voi(reachable, dataset) * (255 / ((1 << bits) - 1))
    elif "WindowWidth" in dataset:
        # pydicom's range is that of the stored values, which the slope may turn around.
        with np.errstate(over="ignore"):
            shown = apply_windowing(values, dataset)
        low, high = output_range(dataset)
        levels = (shown - low) / (high - low) * 255
    else:
        levels = without_window(values, dataset)
    # pydicom inverts about the brightest pixel there is, which is made to be full scale here.
    if "PresentationLUTShape" in dataset:
        return apply_presentation_lut(np.append(levels, [0.0, 255.0]), dataset)[:-2].reshape(levels.shape)
    # pydicom leaves MONOCHROME1 to the caller.
    return np.asarray(255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels, np.float64)


def output_range(dataset: pydicom.Dataset) -> tuple[float, float]:
    """The range of pydicom's windowed values."""
    if dataset.get("ModalityLUTSequence"):
        return 0, 65535
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    return float(low * slope + intercept), float(high * slope + intercept)


def without_window(values: Doubles, dataset: pydicom.Dataset) -> Doubles:
    """The documented rule: the range of the bits up to eight, else of the pixels but for 0.1 % at each end."""
    if dataset.BitsStored > 8:
        low, high = np.percentile(values, [0.1, 99.9], method="inverted_cdf")
    elif dataset.get("ModalityLUTSequence"):
        low, high = 0, 65535
    else:
        low, high = sorted(output_range(dataset))
    return np.clip((values - low) / (high - low), 0, 1) * 255


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(variants())
def test_grey_levels_are_those_of_pydicom(variant: Variant) -> None:
    assert np.abs(decode(variant.data).pixels - pydicom_levels(variant)).max() <= 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(variant=variants())
@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed")
def test_grey_levels_are_those_of_dcmtk(variant: Variant, tmp_path: Path) -> None:
    """But of LINEAR_EXACT, other codecs and a range that is not that of 8 bits, which DCMTK 3.6.7 does not have."""
    table, window = "VOILUTSequence" in variant.elements, "WindowWidth" in variant.elements
    exact = variant.elements.get("VOILUTFunction") == "LINEAR_EXACT"
    if exact or variant.syntax not in READ_BY_DCMTK or (variant.bits != 8 and not table and not window):
        return
    source, target = tmp_path / "image.dcm", tmp_path / "image.pgm"
    source.write_bytes(variant.data)
    choice = ["+Wl", "1"] if table else ["+Wi", "1"] if window else []
    subprocess.run(["dcmj2pnm", "-O", *choice, source, target], check=True, capture_output=True)
    with Image.open(target) as image:
        shown = np.asarray(image).astype(int)
    assert np.abs(decode(variant.data).pixels - shown).max() <= 1
