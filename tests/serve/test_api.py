"""What clients of the service can rely on."""

import asyncio
import base64
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, UploadFile
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from starlette.types import Message

from benchmarks.process import DEADLINE
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.inference.bundle import Bundle
from chestxray.inference.predictions import Options, Prediction
from serve.json_log import JSONLines
from serve.schemas import ProblemDetails
from tests.dicom_files import dicom
from tests.serve.bundles import INPUT_SIZE, SIZE
from tests.serve.conftest import ready_app
from tests.serve.files import GREY, JPEG, PNG, REFUSED, USABLE, encoded

Service = Callable[..., TestClient]
DICOM = dicom(GREY)
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
}


def ask(client: TestClient, data: bytes = PNG, **options: str | float) -> dict[str, Any]:
    answer = client.post("/predict", files={"file": data}, params=options)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_answers_what_the_bundle_says(client: TestClient, bundle: Path) -> None:
    opened = Bundle(bundle)
    (expected,), _ = opened.predict(resize(decode(PNG).pixels, SIZE)[None, ..., None])
    answer = ask(client)
    given = {finding["name"]: finding for finding in answer["findings"]}
    assert [given[name]["probability"] for name in FINDINGS] == pytest.approx(expected, abs=1e-6)
    assert [given[name]["threshold"] for name in FINDINGS] == list(opened.card.thresholds)
    probabilities = [finding["probability"] for finding in answer["findings"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(f["positive"] == (f["probability"] >= f["threshold"]) for f in answer["findings"])
    assert answer["predicted_labels"] == [f["name"] for f in answer["findings"] if f["positive"]]
    assert RESEARCH_USE_ONLY in answer["disclaimer"] and "synthetic" in answer["disclaimer"]
    assert (answer["image"]["width"], answer["image"]["height"], answer["image"]["format"]) == (100, 120, "PNG")


def test_a_threshold_overrides_every_operating_point(client: TestClient) -> None:
    assert ask(client, threshold=1)["predicted_labels"] == []
    assert len(ask(client, threshold=0)["predicted_labels"]) == 14


def test_raw_maps_add_up_to_the_probability(client: TestClient, bundle: Path) -> None:
    """mean(map) + bias = logit, and Platt's curve on it is the probability."""
    card = Bundle(bundle).card
    answer = ask(client, heatmaps="raw", heatmaps_for="all")
    for finding in answer["findings"]:
        place, curve = FINDINGS.index(finding["name"]), card.calibration[finding["name"]]
        logit = np.mean(finding["heatmap"]["values"]) + card.bias[place]
        assert 1 / (1 + np.exp(-curve["slope"] * logit - curve["intercept"])) == pytest.approx(
            finding["probability"], abs=1e-3
        )
        assert finding["heatmap"]["covers"]["width"] == INPUT_SIZE / SIZE
        assert finding["heatmap"]["covers"]["left"] == (SIZE - INPUT_SIZE) / 2 / SIZE


def test_heatmaps_are_for_positive_findings_unless_all_are_wanted(client: TestClient) -> None:
    answer = ask(client, heatmaps="inline", threshold=0.5)
    assert 0 < len(answer["predicted_labels"]) < 14
    for finding in answer["findings"]:
        assert (finding["heatmap"] is not None) == finding["positive"]
    assert all(f["heatmap"] is None for f in ask(client)["findings"])


def test_inline_and_linked_overlays_are_the_same_picture(client: TestClient) -> None:
    inline = ask(client, heatmaps="inline", heatmaps_for="all")["findings"][0]["heatmap"]
    linked = ask(client, heatmaps="link", heatmaps_for="all")["findings"][0]["heatmap"]
    fetched = client.get(linked["url"])
    assert fetched.headers["cache-control"] == "no-store"
    assert fetched.content == base64.b64decode(inline["png"])
    assert Image.open(io.BytesIO(fetched.content)).size == (round(512 * 100 / 120), 512)  # as GREY is


def test_no_heatmap_outlives_the_service(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "heatmaps"
    with TestClient(ready_app(bundle, heatmap_folder=folder)) as client:
        url = ask(client, heatmaps="link", threshold=0)["findings"][0]["heatmap"]["url"]
        assert Path(url).name in [path.name for path in folder.glob("*/*.png")]
    assert not list(folder.iterdir())


def test_linked_overlays_are_bounded(service: Service) -> None:
    client = service(heatmap_bytes=1_048_576)
    urls = [ask(client, heatmaps="link", threshold=0)["findings"][0]["heatmap"]["url"] for _ in range(4)]
    assert client.get(urls[0]).status_code == 404


@pytest.mark.parametrize("name", USABLE)
def test_odd_but_usable_files_are_answered(client: TestClient, name: str) -> None:
    assert len(ask(client, USABLE[name])["findings"]) == 14


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_with_a_reason(client: TestClient, name: str) -> None:
    data, status = REFUSED[name]
    answer = client.post("/predict", files={"file": ("radiograph.png", data, "image/png")})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), problem
    assert (
        problem["status"] == status
        and problem["detail"]
        and problem["type"]
        in (
            {413: ["image-too-large"], 415: ["unsupported-format"], 422: ["unreadable-image", "not-a-radiograph"]}[
                status
            ]
        )
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([PNG, JPEG, DICOM]), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1)
)
def test_no_damage_gives_a_500(client: TestClient, source: bytes, edits: list[tuple[int, int]]) -> None:
    data = bytearray(source)
    for place, value in edits:
        data[place % len(data)] = value
    assert client.post("/predict", files={"file": bytes(data)}).status_code in (200, 413, 415, 422)


def test_sixteen_bits_and_eight_give_the_same(client: TestClient) -> None:
    deep = ask(client, encoded(GREY.astype(np.uint16) * 257))
    assert deep["image"]["bit_depth"] == 16
    assert deep["findings"] == ask(client)["findings"]


@pytest.mark.parametrize("threshold", ["nan", "inf", "-0.1", "1.01", "1e400", "high"])
def test_thresholds_outside_0_to_1_are_refused(client: TestClient, threshold: str) -> None:
    answer = client.post("/predict", files={"file": PNG}, params={"threshold": threshold})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")


def test_requests_without_a_file_are_refused_without_quoting_them(client: TestClient) -> None:
    for content in (
        b"CANARY",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nCANARY\r\n--b--\r\n',
        b"--b\r\n",
    ):
        answer = client.post("/predict", content=content, headers={"content-type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert "CANARY" not in answer.text


def test_large_bodies_are_refused_with_and_without_a_length(service: Service) -> None:
    client = service(max_body_bytes=10_000)

    def chunks() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        yield from [bytes(5_000)] * 3

    known = client.post("/predict", files={"file": bytes(10_001)})
    unknown = client.post("/predict", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"})
    for answer in (known, unknown):
        assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")


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


def test_a_full_queue_is_answered_at_once(service: Service) -> None:
    client = service(concurrency=1, queue_length=0)
    begun, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return go_on.wait(DEADLINE)

    async def occupy() -> None:
        await client.app.state.service.pool.run(work)  # type: ignore[attr-defined] # ours

    async def answer_batch() -> list[Prediction | ProblemDetails]:
        return [answer async for answer in batch]

    upload = UploadFile(io.BytesIO(PNG))
    batch = client.app.state.service.predict_batch([upload], Options(), "a batch")  # type: ignore[attr-defined] # ours
    assert client.portal
    occupied = client.portal.start_task_soon(occupy)
    assert begun.wait(DEADLINE)
    waiting = client.portal.start_task_soon(answer_batch)
    refused = client.post("/predict", files={"file": PNG})
    stray = client.post("/nowhere")
    alive = client.get("/livez")
    go_on.set()
    occupied.result()
    (answer,) = waiting.result()
    assert isinstance(answer, Prediction) and len(answer.findings) == 14  # it waited for its turn
    assert (refused.status_code, refused.json()["type"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert alive.status_code == 200
    assert ask(client)
    assert stray.status_code == 503
    metrics = client.get("/metrics").text
    for route, times in (("/predict", 1), ("none", 1)):
        assert f'requests_total{{route="{route}",status="503"}} {times}.0' in metrics


def test_without_a_model_it_lives_but_is_not_ready(service: Service, tmp_path: Path) -> None:
    client = service()
    holder = client.app.state.service.holder  # type: ignore[attr-defined] # ours
    holder.model = None
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503
    for path in ("/predict", "/predict/batch"):
        answer = client.post(path, files={"file": PNG})
        assert (answer.status_code, answer.json()["type"]) == (503, "model-unavailable")


def test_request_ids_are_taken_if_harmless(client: TestClient) -> None:
    taken = client.get("/nowhere", headers={"X-Request-ID": "abc-1"})
    assert taken.headers["x-request-id"] == taken.json()["request_id"] == "abc-1"
    made = client.get("/livez", headers={"X-Request-ID": "<script>"}).headers["x-request-id"]
    assert len(made) == 32


def test_the_card_has_an_etag(client: TestClient) -> None:
    answer = client.get("/v1/model")
    assert answer.json()["card"]["findings"] == list(FINDINGS)
    assert client.get("/v1/model", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_a_crash_is_an_answer_like_any_other(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("CANARY")

    client = service(cors_origins=("https://radiology.example",))
    monkeypatch.setattr("serve.service.answer", crash)
    given = {"X-Request-ID": "abc-1", "Origin": "https://radiology.example"}
    answer = client.post("/predict", files={"file": ("CANARY.png", PNG)}, headers=given)
    assert (answer.status_code, answer.json()["type"]) == (500, "internal-error")
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-1"
    assert answer.headers["access-control-allow-origin"] == "https://radiology.example"
    assert SAFE.items() <= answer.headers.items()
    metrics = client.get("/metrics").text
    assert 'requests_total{route="/predict",status="500"} 1.0' in metrics
    assert 'refusals_total{type="internal-error"} 1.0' in metrics
    lines = [json.loads(JSONLines().format(record)) for record in caplog.records]
    (failed,) = (line for line in lines if line["level"] == "error")
    assert (failed["request_id"], failed["error"]) == ("abc-1", "RuntimeError")
    assert "in crash" in failed["traceback"][-1]
    assert "CANARY" not in f"{answer.text} {metrics} {[{**line, 'traceback': None} for line in lines]}"


def test_an_answer_that_has_begun_is_cut_off_not_followed_by_another(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("CANARY")

    client = service()
    app: FastAPI = client.app  # type: ignore[assignment] # ours
    app.get("/begun")(lambda: StreamingResponse(parts()))
    sent: list[Message] = []

    async def call() -> None:
        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/begun", "headers": [], "query_string": b""}
        await app(scope, receive, send)

    assert client.portal
    with pytest.raises(RuntimeError, match="CANARY"):
        client.portal.call(call)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    failed = [record for record in caplog.records if record.getMessage() == "failed"]
    assert len(failed) == 1


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


def test_the_documentation_shows_every_error(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
    responses = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "401", "408", "413", "415", "422", "500", "503"}
    examples = responses["503"]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"overloaded", "model-unavailable"}


KEY = "a key of this test alone"


def test_the_document_says_which_files_are_taken(client: TestClient) -> None:
    for path in ("/predict", "/predict/batch"):
        body = client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]["content"]
        kinds = body["multipart/form-data"]["encoding"]["file"]["contentType"]
        assert kinds == "image/png, image/jpeg, application/dicom"


def test_every_answer_and_error_has_an_example(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    shown = {"examples", "const", "enum", "default", "$ref", "anyOf", "items", "contentMediaType"}
    for schema in document["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            assert shown & set(field) or field["type"] == "boolean", name
    for path, operation in document["paths"].items():
        for status, answer in next(iter(operation.values()))["responses"].items():
            content = answer.get("content", {})
            if int(status) >= 400 and path != "/readyz":
                assert content["application/problem+json"]["examples"], (path, status)
            elif "image/png" not in content:
                assert any({"example", "$ref"} & {*kind, *kind.get("schema", {})} for kind in content.values()), path


def test_the_key_is_documented_where_it_is_asked_for(service: Service) -> None:
    document = service(api_key=KEY).get("/openapi.json").json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["in"], scheme["name"]) == ("header", "X-API-Key")
    guarded = {path for path, operation in document["paths"].items() if "security" in next(iter(operation.values()))}
    assert guarded == {"/predict", "/predict/batch", "/v1/model", "/metrics"}
    assert "securitySchemes" not in service().get("/openapi.json").json()["components"]


@pytest.mark.parametrize("given", [None, "", "another key", KEY + " ", "ä"])
def test_without_the_key_nothing_is_told(service: Service, given: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = service(api_key=KEY, max_body_bytes=1)
    headers = {} if given is None else {"X-API-Key": given.encode()}
    asked = [
        client.post("/predict", files={"file": PNG}, headers=headers),  # 401 before 413: the body is not looked at
        *(client.get(path, headers=headers) for path in ("/v1/model", "/metrics", "/nowhere", "/livez/")),
    ]
    for answer in asked:
        assert (answer.status_code, answer.json()["type"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "X-API-Key"
    assert all(client.get(path).status_code == 200 for path in ("/livez", "/readyz", "/docs", "/openapi.json"))
    assert KEY not in "".join(JSONLines().format(record) for record in caplog.records)


def test_with_the_key_it_answers_and_heatmaps_need_their_name_alone(service: Service) -> None:
    client = service(api_key=KEY)
    client.headers["X-API-Key"] = KEY
    url = ask(client, heatmaps="link", threshold=0)["findings"][0]["heatmap"]["url"]
    del client.headers["X-API-Key"]
    assert client.get(url).status_code == 200
    assert client.get("/static/gradcam/" + "0" * 32 + ".png").status_code == 404


def test_other_sites_may_call_only_if_named(service: Service) -> None:
    origin = {"Origin": "https://radiology.example"}
    assert "access-control-allow-origin" not in service().get("/livez", headers=origin).headers
    allowed = service(cors_origins=("https://radiology.example",), api_key=KEY)
    asking = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    preflight = allowed.options("/predict", headers=asking)
    assert preflight.status_code == 200
    exposed = allowed.get("/livez", headers=origin).headers["access-control-expose-headers"]
    assert {"X-Request-ID", "Retry-After"} <= set(exposed.split(", "))
    assert allowed.get("/v1/model", headers=origin).status_code == 401
    assert allowed.get("/v1/model", headers=origin).headers["access-control-allow-origin"] == origin["Origin"]
    stranger = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in allowed.get("/livez", headers=stranger).headers


def test_every_answer_has_security_headers(client: TestClient) -> None:
    asked = [client.get(path) for path in ("/livez", "/docs", "/nowhere", "/v1/model", "/metrics")]
    asked.append(client.post("/predict", files={"file": PNG}))
    asked.append(client.post("/predict", files={"file": b"garbage"}))
    for answer in asked:
        expected = SAFE | ({"cache-control": "no-cache"} if "etag" in answer.headers else {})
        assert expected.items() <= answer.headers.items()


def test_a_batch_is_bounded_as_a_whole(service: Service) -> None:
    client = service(max_batch_files=2, max_body_bytes=3 * len(PNG))
    for count, status in ((2, 200), (4, 413)):
        assert client.post("/predict/batch", files=[("file", PNG)] * count).status_code == status
    many = client.post("/predict/batch", files=[("file", b"x")] * 3)
    assert (many.status_code, many.json()["type"]) == (422, "invalid-request")
