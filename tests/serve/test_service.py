"""The service predicts with the model it holds, and files of a batch stand alone."""

import errno
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from chestxray.inference.predictions import Prediction
from tests.serve.clients import Service, ask
from tests.serve.conftest import ready_app
from tests.serve.files import JPEG, PNG


def test_a_batch_gives_each_file_its_own_answer(client: TestClient) -> None:
    files = [("file", PNG), ("file", b"garbage"), ("file", JPEG)]
    first, second, third = client.post("/predict/batch", files=files).json()["answers"]
    assert first["findings"] == ask(client)["findings"]
    assert second["type"] == "unsupported-format"
    assert third["findings"] == ask(client, JPEG)["findings"]


def test_a_crash_over_one_file_leaves_the_others_of_a_batch_alone(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash_once(*given: Any) -> Prediction:
        monkeypatch.undo()
        raise MemoryError("CANARY")

    monkeypatch.setattr("serve.service.answer", crash_once)
    first, second = client.post("/predict/batch", files=[("file", PNG)] * 2).json()["answers"]
    assert first["type"] == "internal-error" and second["findings"] == ask(client)["findings"]
    assert [record.getMessage() for record in caplog.records].count("failed") == 1


def test_without_a_model_it_lives_but_is_not_ready(service: Service, tmp_path: Path) -> None:
    client = service()
    holder = client.app.state.service.holder  # type: ignore[attr-defined] # ours
    holder.model = None
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503
    for path in ("/predict", "/predict/batch"):
        answer = client.post(path, files={"file": PNG})
        assert (answer.status_code, answer.json()["type"]) == (503, "model-unavailable")


def test_no_heatmap_outlives_the_service(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "heatmaps"
    with TestClient(ready_app(bundle, heatmap_folder=folder)) as client:
        url = ask(client, heatmaps="link", threshold=0)["findings"][0]["heatmap"]["url"]
        assert Path(url).name in [path.name for path in folder.glob("*/*.png")]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("heatmaps", ["none", "link"])
def test_what_the_system_refuses_before_heatmaps_is_not_said_of_them(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, heatmaps: str
) -> None:
    calls = []

    def no_process(*given: Any) -> Prediction:
        calls.append(given)
        raise OSError(errno.EMFILE, "CANARY")

    monkeypatch.setattr("chestxray.inference.answer.predict_file", no_process)
    refused = client.post("/predict", params={"heatmaps": heatmaps}, files={"file": PNG})
    assert (refused.status_code, refused.json()["type"]) == (503, "overloaded") and len(calls) == 1
    assert "heatmaps not stored" not in [record.getMessage() for record in caplog.records]


def test_what_the_system_refuses_to_store_leaves_the_findings(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.EMFILE, "CANARY")

    monkeypatch.setattr("serve.heatmap_store._Folder.write", full)
    answer = ask(client, heatmaps="link", threshold=0)
    assert "could not store the heatmaps" in answer["image"]["warnings"][-1]
    assert answer["findings"] and not any(finding["heatmap"] for finding in answer["findings"])
    assert "could not store" not in str(ask(client, heatmaps="inline", threshold=0)["image"]["warnings"])


def test_linked_overlays_are_bounded(service: Service) -> None:
    client = service(heatmap_bytes=1_048_576)
    urls = [ask(client, heatmaps="link", threshold=0)["findings"][0]["heatmap"]["url"] for _ in range(4)]
    assert client.get(urls[0]).status_code == 404
