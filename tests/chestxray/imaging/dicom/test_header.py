"""What a DICOM header may cost, and that nothing of it is quoted."""

import logging
import subprocess
import sys
import warnings
from typing import Any

import pytest
from pydicom import Dataset

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom import header
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import FULL, RAMP, dicom, ordinary_time, processor_time
from tests.repository import TOP
from tests.serve.files import USABLE


@pytest.mark.parametrize("name", [name for name in USABLE if name.startswith("dicom, endless")])
def test_what_is_not_used_is_not_interpreted(name: str) -> None:
    assert processor_time(lambda: decode(USABLE[name])) < 5 * ordinary_time()


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


READERS = {
    "decode": "from chestxray.imaging.decode import decode\nwith contextlib.suppress(ValueError): decode(data)",
    "pydicom": "import pydicom; str(pydicom.dcmread(io.BytesIO(data)))",
}


@pytest.mark.parametrize(("reader", "quotes"), [("decode", False), ("pydicom", True)])
def test_a_process_that_shows_every_warning_and_log_shows_no_text_of_the_file(reader: str, quotes: bool) -> None:
    """The control is pydicom by itself, which quotes it."""
    said_all = "import contextlib, io, logging, sys, warnings\nlogging.basicConfig(level=logging.DEBUG)\n"
    script = f"{said_all}warnings.simplefilter('always')\ndata = sys.stdin.buffer.read()\n{READERS[reader]}"
    data = dicom(RAMP, **FULL, SOPClassUID="1.canary")
    done = subprocess.run([sys.executable, "-c", script], check=True, input=data, capture_output=True, cwd=TOP)
    assert (b"canary" in done.stdout + done.stderr) is quotes


def test_warnings_stay_silent_where_a_caller_shows_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it did so after an earlier file, or takes back all filters when it is done."""
    original = header.read_dataset

    def warn(*arguments: Any, **options: Any) -> Dataset:
        warnings.warn_explicit("CANARY", UserWarning, "filereader.py", 1, module="pydicom.filereader")
        return original(*arguments, **options)

    monkeypatch.setattr(header, "read_dataset", warn)
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            decode(dicom(RAMP))
            warnings.simplefilter("always")
            decode(dicom(RAMP))
        assert caught == []
