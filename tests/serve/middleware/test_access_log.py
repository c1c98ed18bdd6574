"""Answers are counted and logged, and nothing of a file is in it."""

import base64
import json
import logging

import pytest
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin

from serve.json_log import JSONLines
from tests.serve.clients import ask
from tests.serve.files import GREY, encoded


def test_logs_are_json_and_metrics_count(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serve.requests")
    ask(client)
    client.post("/predict", files={"file": b"garbage"})
    first, second = (json.loads(JSONLines().format(record)) for record in caplog.records)
    assert (first["route"], first["status"], second["status"]) == ("/predict", 200, 415)
    metrics = client.get("/metrics").text
    assert 'requests_total{route="/predict",status="200"} 1.0' in metrics
    assert 'refusals_total{type="unsupported-format"} 1.0' in metrics
    assert 'stage_seconds_count{stage="inference"} 1.0' in metrics


def test_neither_names_nor_tags_leave_the_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("PatientName", "CANARY-TEXT")
    exif = Image.Exif()
    exif[0x010E] = "CANARY-EXIF"
    tagged = encoded(GREY, pnginfo=info, exif=exif)
    caplog.set_level(logging.DEBUG, "serve")
    answers = [
        client.post(
            "/predict", files={"file": ("CANARY-NAME.png", data)}, params={"heatmaps": "inline", "threshold": 0}
        )
        for data in (tagged, tagged[:80], b"CANARY")
    ]
    overlays = [base64.b64decode(f["heatmap"]["png"]) for f in answers[0].json()["findings"]]
    logs = "".join(JSONLines().format(record) for record in caplog.records)
    assert "answered" in logs
    for text in (*(answer.text for answer in answers), logs, client.get("/metrics").text):
        assert "CANARY" not in text
    assert not any(b"CANARY" in overlay for overlay in overlays)
