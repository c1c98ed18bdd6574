"""No file costs a real process much memory, and nothing that is in one comes out again."""

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from benchmarks.client import PREDICT, Client, form
from benchmarks.hostile import costs
from benchmarks.process import serving
from tests.dicom_files import dataset_of, written
from tests.serve.files import GREY, REFUSED, USABLE, encoded

pytestmark = pytest.mark.slow
HONEST = encoded(np.random.default_rng(0).integers(65536, size=(3000, 3000), dtype=np.uint16), compress_level=0)
"""As large as radiographs are; nothing else may cost as much memory."""


def test_no_file_costs_more_memory_than_a_large_radiograph(bundle: Path, tmp_path: Path) -> None:
    expected = dict.fromkeys(USABLE, 200) | {name: status for name, (_, status) in REFUSED.items()}
    files = USABLE | {name: file for name, (file, _) in REFUSED.items()}
    with serving(tmp_path, bundle) as server:
        found = costs(server, files)
        (honest,) = costs(server, {"honest": HONEST}).values()
    assert {name: cost.status for name, cost in found.items()} == expected
    assert {name: cost.mebibytes for name, cost in found.items() if cost.mebibytes > honest.mebibytes} == {}


def tagged_dicom() -> bytes:
    names = ("PatientName", "PatientID", "StudyDescription", "InstitutionName", "ViewPosition", "AccessionNumber")
    dataset = dataset_of(GREY, **dict.fromkeys(names, "CANARY"), PatientBirthDate="19410203")
    dataset.private_block(0x0011, "CANARY", create=True).add_new(1, "LO", "CANARY")
    return written(dataset)


def test_no_canary_leaves_a_real_process(bundle: Path, tmp_path: Path) -> None:
    info, exif = PngImagePlugin.PngInfo(), Image.Exif()
    for add in (info.add_text, info.add_itxt):
        add("CANARY-KEY", "CANARY-TEXT")
    exif[0x010E] = "CANARY-EXIF"
    png = encoded(GREY, pnginfo=info, exif=exif)
    jpeg, tagged = encoded(GREY, "JPEG", exif=exif, comment=b"CANARY"), tagged_dicom()
    files = [png, jpeg, tagged, png[: len(png) // 2], tagged[:-5000], b"CANARY"]
    with serving(tmp_path, bundle) as server, Client(server.port) as client:
        told: list[bytes] = []
        pictures: list[bytes] = []
        for file in files:
            body = form(file, name="CANARY.png")
            for path in (f"{PREDICT}?heatmaps=inline&heatmaps_for=all", "/predict/batch", "/CANARY-not-here"):
                told.append(client.post(path, body).body)
        for file in (png, tagged):
            answer = client.post(f"{PREDICT}?heatmaps=inline&heatmaps_for=all", form(file)).json()
            pictures += [base64.b64decode(finding["heatmap"]["png"]) for finding in answer["findings"]]
        told.append(client.get("/metrics").body)
        server.stop()
        told.append(server.log.read_bytes())
    assert b'"answered"' in told[-1] and len(pictures) == 28
    assert tagged.count(b"CANARY") == 8
    assert not any(word in text for text in (*told, *pictures) for word in (b"CANARY", b"19410203"))
