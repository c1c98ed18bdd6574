"""DICOM files of every transfer syntax decode; the others are refused at a low cost."""

import contextlib
import errno
import importlib.util
import logging
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid

from chestxray.imaging.codecs import process as codec_process
from chestxray.imaging.decode import decode
from chestxray.imaging.dicom import grayscale
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import FULL, LOSSY, RAMP, SYNTAXES, dicom, look_up, ordinary_time, processor_time
from tests.serve.files import REFUSED


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


@pytest.mark.parametrize(("given_view", "view"), [("PA", "PA"), ("LL", "LL"), ("CANARY", None), ("", None)])
def test_only_known_views_are_told(given_view: str, view: str | None) -> None:
    assert decode(dicom(RAMP, ViewPosition=given_view)).view_position == view


@pytest.mark.parametrize(
    ("name", "shape", "bits", "view", "mean"),
    [("RG1", (1955, 1841), 15, "PA", 192.17), ("RG3", (1760, 1760), 10, "AP", 177.498)],
)
def test_real_radiographs(name: str, shape: tuple[int, int], bits: int, view: str, mean: float) -> None:
    """Computed radiographs of pydicom-data, of a chest and of a leg, MONOCHROME1, as they are and in JPEG 2000."""
    spec = importlib.util.find_spec("data_store")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data"
    plain, lossless, packed = (
        decode((folder / f"{name}_{kind}.dcm").read_bytes()) for kind in ("UNCR", "J2KR", "J2KI")
    )
    assert (plain.pixels.shape, plain.bit_depth, plain.view_position) == (shape, bits, view)
    assert plain.pixels.mean() == pytest.approx(mean, abs=0.01)
    leg = ["series-description", "patient-orientation"]
    verdicts = {check.name: check.verdict for check in plain.checks}
    assert verdicts == ({"body-part": "refused"} | dict.fromkeys(leg, "warned") if name == "RG3" else {})
    assert np.array_equal(lossless.pixels, plain.pixels)
    assert np.abs(packed.pixels.astype(int) - plain.pixels).mean() < 2


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("dicom")])
def test_refusals_are_cheap(name: str) -> None:
    def refuse() -> None:
        with pytest.raises(RadiographError):
            decode(REFUSED[name][0])

    assert processor_time(refuse) < 20 * ordinary_time()


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

    monkeypatch.setattr(codec_process, "_pool", codec_process.CodecPool())
    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(type(fault)):
        decode(data)


def test_what_damage_raised_is_logged_but_not_what_it_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("CANARY")

    caplog.set_level(logging.WARNING, "chestxray.imaging")  # a table of scores is made without these lines

    with monkeypatch.context() as patch, pytest.raises(RadiographError, match="truncated or damaged"):
        patch.setattr(grayscale, "numbers", fail)
        decode(dicom(RAMP, VOILUTSequence=[look_up(np.arange(256, dtype=np.uint8), 8)]))
    (record,) = caplog.records
    assert "ValueError" in caplog.text and "CANARY" not in caplog.text
    assert any("grayscale.py" in line for line in record.__dict__["traceback"])
    with pytest.raises(RadiographError):
        decode(REFUSED["dicom, deep sequences"][0])
    assert all(len(str(record.__dict__["traceback"])) < 5000 for record in caplog.records)
