"""What a stranger sends costs a real process little memory, and nothing that is in it comes out again."""

import base64
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from benchmarks.client import PREDICT, Client, form
from benchmarks.hostile import costs
from benchmarks.process import serving
from tests.serve.files import GREY, REFUSED, USABLE, encoded

pytestmark = pytest.mark.slow
MEBIBYTES = 32.0


def test_no_file_costs_much_memory(bundle: Path, tmp_path: Path) -> None:
    expected = dict.fromkeys(USABLE, 200) | {name: status for name, (_, status) in REFUSED.items()}
    files = USABLE | {name: file for name, (file, _) in REFUSED.items()}
    with serving(tmp_path, bundle) as server:
        found = costs(server, files)
    assert {name: cost.status for name, cost in found.items()} == expected
    assert {name: cost.mebibytes for name, cost in found.items() if cost.mebibytes > MEBIBYTES} == {}


def test_no_canary_leaves_a_real_process(bundle: Path, tmp_path: Path) -> None:
    info, exif = PngImagePlugin.PngInfo(), Image.Exif()
    for add in (info.add_text, info.add_itxt):
        add("CANARY-KEY", "CANARY-TEXT")
    exif[0x010E] = "CANARY-EXIF"
    png = encoded(GREY, pnginfo=info, exif=exif)
    files = [png, encoded(GREY, "JPEG", exif=exif, comment=b"CANARY"), png[: len(png) // 2], b"CANARY"]
    with serving(tmp_path, bundle) as server, Client(server.port) as client:
        told, pictures = [], []
        for file in files:
            body = form(file, name="CANARY.png")
            for path in (f"{PREDICT}?heatmaps=inline&heatmaps_for=all", "/predict/batch", "/CANARY-not-here"):
                told.append(client.post(path, body).body)
        for finding in client.post(f"{PREDICT}?heatmaps=inline&heatmaps_for=all", form(png)).json()["findings"]:
            pictures.append(base64.b64decode(finding["heatmap"]["png"]))
        told.append(client.get("/metrics").body)
        server.stop()
        told.append(server.log.read_bytes())
    assert b'"answered"' in told[-1] and len(pictures) == 14
    assert not any(b"CANARY" in text for text in (*told, *pictures))
