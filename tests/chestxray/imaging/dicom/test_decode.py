"""DICOM in the one decoder: every transfer syntax and every way to mean a grey level; refusals and their price."""

import contextlib
import errno
import hashlib
import importlib.util
import io
import logging
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom.codec_process import decode_in_process
from chestxray.imaging.dicom.jpeg_lossless import decode_lossless_jpeg
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import (
    JPEG_8_BIT,
    JPEG_2000,
    SYNTAXES,
    dataset_of,
    dicom,
    extended_jpeg,
    lossless_jpeg,
    written,
)
from tests.serve.files import REFUSED, USABLE

RAMP = np.add.outer(np.arange(64) * 3, np.arange(48)).astype(np.uint8)  # smooth, for lossy codecs; 0–236
FULL = {"WindowCenter": 128, "WindowWidth": 256}
LOSSY = {*JPEG_8_BIT, uid.JPEG2000, uid.JPEGLSNearLossless}
DEEP_SYNTAXES = [s for s in SYNTAXES if uid.UID(s).is_encapsulated and s != uid.JPEGBaseline8Bit]


def shades(values: np.ndarray, bits: int | None = None, **elements: object) -> np.ndarray:
    """The grey levels of native values."""
    return decode(dicom(values, bits=bits, **elements)).pixels


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_gives_the_same_pixels(syntax: str) -> None:
    radiograph = decode(dicom(RAMP, syntax, **FULL))
    error = np.abs(radiograph.pixels.astype(int) - RAMP).max()
    assert error <= (4 if syntax in LOSSY else 0)
    assert (radiograph.format, radiograph.bit_depth, radiograph.view_position) == ("DICOM", 8, None)


@pytest.mark.parametrize("syntax", [s for s in SYNTAXES if s not in LOSSY or s == uid.JPEGExtended12Bit])
def test_12_bits_in_16_are_windowed(syntax: str) -> None:
    bits = 16 if syntax == uid.JPEG2000Lossless else 12  # the codestream of Pillow says 16
    deep = RAMP.astype(np.uint16) * 16
    radiograph = decode(dicom(deep, syntax, bits, WindowCenter=2048, WindowWidth=4096))
    assert np.abs(radiograph.pixels - deep * (255 / 4095)).max() <= (0.7 if syntax in LOSSY else 0.51)
    assert radiograph.bit_depth == bits


def test_signed_values_and_rescaling() -> None:
    signed = RAMP.astype(np.int16) - 100
    assert np.array_equal(shades(signed, 12, WindowCenter=28, WindowWidth=256), RAMP)
    rescaled = shades(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-744.5, WindowWidth=511)
    assert np.abs(rescaled.astype(int) - RAMP).max() <= 1


def test_bits_above_those_stored_are_an_overlay() -> None:
    deep = RAMP.astype(np.uint16) * 16
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    assert np.array_equal(shades(deep | 0xF000, 12, **window), shades(deep, 12, **window))


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


def look_up(entries: np.ndarray, bits: int, first: int = 0) -> Dataset:
    """Two entries in a word if they are bytes."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries) % 65536, first, bits], entries.tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "SS" if first < 0 else "US", "OW"
    item.ModalityLUTType = "US"
    return item


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


@pytest.mark.parametrize(("given_view", "view"), [("PA", "PA"), ("LL", "LL"), ("CANARY", None), ("", None)])
def test_only_known_views_are_told(given_view: str, view: str | None) -> None:
    assert decode(dicom(RAMP, ViewPosition=given_view)).view_position == view


@pytest.mark.parametrize(
    ("name", "shape", "bits", "view", "mean"),
    [("RG1", (1955, 1841), 15, "PA", 192.17), ("RG3", (1760, 1760), 10, "AP", 177.498)],
)
def test_real_radiographs(name: str, shape: tuple[int, int], bits: int, view: str, mean: float) -> None:
    """Computed radiographs of pydicom-data, MONOCHROME1, as they are and in JPEG 2000."""
    spec = importlib.util.find_spec("data_store")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data"
    plain, lossless, packed = (
        decode((folder / f"{name}_{kind}.dcm").read_bytes()) for kind in ("UNCR", "J2KR", "J2KI")
    )
    assert (plain.pixels.shape, plain.bit_depth, plain.view_position) == (shape, bits, view)
    assert plain.pixels.mean() == pytest.approx(mean, abs=0.01)
    assert np.array_equal(lossless.pixels, plain.pixels)
    assert np.abs(packed.pixels.astype(int) - plain.pixels).mean() < 2


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("bits", "restart"), [(8, 0), (12, 5), (16, 16)])
def test_lossless_jpeg_comes_back_bit_for_bit(predictor: int, bits: int, restart: int) -> None:
    noise = np.random.default_rng(bits).integers(1 << bits, size=(33, 41), dtype=np.uint16)
    for pixels in (noise, np.sort(noise), np.full((200, 400), 7, np.uint16)):  # the last takes several blocks
        data = lossless_jpeg(pixels, bits, predictor, restart)
        assert np.array_equal(decode_lossless_jpeg(data, *pixels.shape), pixels)


@pytest.mark.parametrize("one_segment", [False, True])
def test_of_several_tables_of_codes_the_scan_names_one(one_segment: bool) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(33, 41), dtype=np.uint16)
    data = lossless_jpeg(pixels, 8)
    start = data.index(b"\xff\xc4")
    other = bytes([1, 1, *[0] * 15, 5])  # the number 1; its only code means the category 5
    if one_segment:
        data = data[: start + 2] + bytes([0, 36 + 18]) + other + data[start + 4 :]
    else:
        end = data.index(b"\xff\xdd")
        data = data[:end] + b"\xff\xc4\x00\x14" + other + data[end:]
    assert np.array_equal(decode_lossless_jpeg(data, *pixels.shape), pixels)


@pytest.mark.parametrize("end", [-1500, -1000, -3])
def test_lossless_jpeg_that_ends_early_is_refused(end: int) -> None:
    data = lossless_jpeg(np.random.default_rng(0).integers(256, size=(64, 48)), 8)
    with pytest.raises(ValueError, match=r"fewer|no code"):
        decode_lossless_jpeg(data[:end], 64, 48)


@pytest.mark.parametrize(
    ("name", "digest"),
    [("JPGLosslessP14SV1_1s_1f_8b.dcm", "53e607880105df3b"), ("JPEG-LL.dcm", "a6e9d32143339d3f")],
)
def test_lossless_jpeg_of_others_decodes_as_gdcm_does(name: str, digest: str) -> None:
    """The digests are of what GDCM 3.2.6 made of pydicom's test files."""
    dataset = pydicom.dcmread(get_testdata_file(name))
    pixels = decode_lossless_jpeg(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset.Rows, dataset.Columns)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == digest


def test_jpeg_of_12_bits_comes_back() -> None:
    """Coefficients are whole numbers, which costs a few of 4,096 levels at most."""
    noise = np.random.default_rng(0).integers(4096, size=(40, 72), dtype=np.uint16)
    for pixels in (noise, np.sort(noise), np.full((8, 8), 4095, np.uint16)):
        decoded = decode_in_process("jpeg-12", extended_jpeg(pixels), *pixels.shape)
        assert np.abs(decoded.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_12_bits_of_others_decodes_as_pydicom_says(name: str) -> None:
    """Two values that pydicom's own tests give; the second file is the first with a wrong header of the scan."""
    dataset = pydicom.dcmread(get_testdata_file(name))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    pixels = decode_in_process("jpeg-12", frame, dataset.Rows, dataset.Columns)
    assert (pixels[420, 140], pixels[230, 120]) == (244, 95)


@pytest.mark.parametrize("end", [-1000, -1])
def test_jpeg_of_12_bits_that_ends_early_is_refused(end: int) -> None:
    data = extended_jpeg(np.random.default_rng(0).integers(4096, size=(64, 48), dtype=np.uint16))
    with pytest.raises(subprocess.CalledProcessError):
        decode_in_process("jpeg-12", data[:end], 64, 48)


def test_jpeg_that_lacks_rows_before_its_end_is_grey_there_whatever_its_bits() -> None:
    """A known limit: Pillow tells of no warning of libjpeg. If it ever does, both should be refused."""
    noise = np.random.default_rng(0).integers(4096, size=(64, 48), dtype=np.uint16)
    stream = io.BytesIO()
    Image.fromarray((noise >> 4).astype(np.uint8)).save(stream, "JPEG")
    deep, flat = (data[: len(data) // 2] + b"\xff\xd9" for data in (extended_jpeg(noise), stream.getvalue()))
    for pixels in (decode_in_process("jpeg-12", deep, 64, 48), decode(flat).pixels):
        assert pixels[:8].std() > 0 == pixels[-8:].std()


def in_frame(codestream: bytes, syntax: str, allocated: int, stored: int, **elements: object) -> bytes:
    """A file whose header may say something else than its codestream."""
    dataset = dataset_of(RAMP, BitsAllocated=allocated, BitsStored=stored, HighBit=stored - 1, **elements)
    dataset.PixelData = encapsulate([codestream])
    return written(dataset, syntax)


@pytest.mark.parametrize(
    "options",
    [
        {"tile_size": (32, 32)},
        {"tile_size": (20, 13), "tile_offset": (0, 0), "num_resolutions": 2},
        {"codeblock_size": (4, 4)},
        {"codeblock_size": (64, 16), "precinct_size": (128, 128), "progression": "RPCL"},
        {"precinct_size": (64, 64), "quality_layers": [20, 5, 0], "progression": "PCRL"},
    ],
    ids=str,
)
def test_jpeg_2000_may_be_divided(options: dict[str, object]) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, "JPEG2000", no_jp2=True, plt=True, comment="by a test", **options)
    data = in_frame(stream.getvalue(), uid.JPEG2000Lossless, 8, 8, **FULL)
    assert np.array_equal(decode(data).pixels, RAMP)


DEEP = RAMP.astype(np.uint16) * 16


def packed(pixels: np.ndarray, syntax: str) -> bytes:
    """The codestream alone."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(pixels, syntax, 12)))
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("syntax", [s for s in DEEP_SYNTAXES if s != uid.RLELossless])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 10)])
def test_values_that_the_header_has_no_bits_for_are_refused(syntax: str, allocated: int, stored: int) -> None:
    """Instead of wrapping them."""
    with pytest.raises(RadiographError, match=rf"more than the {stored} bits"):
        decode(in_frame(packed(DEEP, syntax), syntax, allocated, stored))


@pytest.mark.parametrize("syntax", [s for s in DEEP_SYNTAXES if s not in (uid.RLELossless, *JPEG_2000)])
def test_a_codestream_may_have_more_bits_than_it_needs(syntax: str) -> None:
    small = RAMP.astype(np.uint16)
    levels = decode(in_frame(packed(small, syntax), syntax, 16, 10, WindowCenter=128, WindowWidth=256)).pixels
    assert np.abs(levels.astype(int) - RAMP).max() <= (3 if syntax in LOSSY else 0)


def test_signs_may_be_extended_beyond_the_bits_stored() -> None:
    signed = RAMP.astype(np.int16) - 100
    window = {"WindowCenter": 28, "WindowWidth": 256, "PixelRepresentation": 1}
    data = in_frame(lossless_jpeg(signed.view(np.uint16), 16), uid.JPEGLossless, 16, 12, **window)
    assert np.array_equal(decode(data).pixels, RAMP)


@pytest.mark.parametrize("syntax", JPEG_8_BIT)
@pytest.mark.parametrize("bits", [8, 12])
def test_lossless_jpeg_is_refused_where_another_kind_is_announced(syntax: str, bits: int) -> None:
    with pytest.raises(RadiographError, match="another kind of JPEG"):
        decode(in_frame(lossless_jpeg(RAMP.astype(np.uint16), bits), syntax, 8 if bits == 8 else 16, bits))


ENDLESS = (
    "ffd8fff7000b0c0040003001011100ffda0008010100000000afdfbf77bbf77be77d73c6fb6bde6fddef9df5cf1bedaf"
    "79ce737bdef7ad6b5ad6b560c17bceb8db4cb0bace"
)


def test_jpeg_ls_that_never_ends_is_stopped() -> None:
    """Found by `make fuzz`: it keeps CharLS in a loop."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        decode_in_process("jpeg-ls", bytes.fromhex(ENDLESS), 64, 48)
    assert raised.value.returncode == -signal.SIGPROF


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("dicom")])
def test_refusals_are_cheap(name: str) -> None:
    decode(dicom(RAMP))  # pydicom is loaded
    started = time.process_time()
    with pytest.raises(RadiographError):
        decode(REFUSED[name][0])
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", [name for name in USABLE if name.startswith("dicom, endless")])
def test_what_is_not_used_is_not_interpreted(name: str) -> None:
    decode(dicom(RAMP))
    started = time.process_time()
    decode(USABLE[name])
    assert time.process_time() - started < 0.25


SEEDS = {syntax: dicom(RAMP, syntax, **FULL) for syntax in SYNTAXES}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SYNTAXES), st.lists(st.tuples(st.integers(132, 5000), st.integers(0, 255)), min_size=1))
def test_damage_never_raises_anything_else(syntax: str, edits: list[tuple[int, int]]) -> None:
    data = bytearray(SEEDS[syntax])
    for place, value in edits:
        data[place % len(data)] = value
    with contextlib.suppress(RadiographError):
        assert decode(bytes(data)).pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "fault", [MemoryError(), BlockingIOError(errno.EAGAIN, "fork"), subprocess.TimeoutExpired("codec", 30)], ids=repr
)
def test_faults_of_the_machine_are_not_those_of_the_file(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    data = dicom(RAMP, uid.JPEGLSLossless)

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(type(fault)):
        decode(data)


def test_what_damage_raised_is_logged_but_not_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RadiographError, match="truncated or damaged"):
        decode(dicom(RAMP, RescaleSlope=1).replace(b"DS\x04\x001.0 ", b"DS\x04\x00?!?!"))
    (record,) = caplog.records
    assert "ValueError" in caplog.text and "?!" not in caplog.text
    assert any("grayscale.py" in line for line in record.__dict__["traceback"])
    with pytest.raises(RadiographError):
        decode(REFUSED["dicom, deep sequences"][0])
    assert all(len(str(record.__dict__["traceback"])) < 5000 for record in caplog.records)


def test_no_text_of_the_file_is_shown(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    canaries = dict.fromkeys(("PatientName", "StudyDescription", "ViewPosition", "VOILUTFunction"), "CANARY^TEXT")
    said = []
    for elements in ({}, {"SpecificCharacterSet": "CANARY"}, {"Rows": 600}, {"Modality": "CANARY"}):
        try:
            said.append(repr(decode(dicom(RAMP, **canaries, **FULL, **elements))))
        except RadiographError as error:
            said.append(f"{error!r} {error.__cause__!r}")
    assert "CANARY" not in "".join([*said, caplog.text])
    assert logging.getLogger("pydicom").level > logging.CRITICAL
