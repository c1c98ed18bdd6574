"""Errors that nobody expected are answered as problems, or cut the connection."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.types import Message

from serve.json_log import JSONLines
from tests.serve.clients import SAFE, Service
from tests.serve.files import PNG


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
