"""Requests that are too large or too many are refused."""

import io
import threading
from typing import Any

from fastapi import UploadFile

from benchmarks.process import DEADLINE
from chestxray.inference.predictions import Options, Prediction
from serve.schemas import ProblemDetails
from serve.settings import Settings
from tests.serve.clients import Service, ask
from tests.serve.files import PNG


def test_large_bodies_are_refused_with_and_without_a_length(service: Service) -> None:
    client = service(max_body_bytes=10_000)

    def chunks() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        yield from [bytes(5_000)] * 3

    known = client.post("/predict", files={"file": bytes(10_001)})
    unknown = client.post("/predict", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"})
    for answer in (known, unknown):
        assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")
        assert "larger than 10,000 bytes" in answer.json()["detail"] and "MAX_BODY_BYTES" in answer.json()["detail"]


def test_by_default_an_uncompressed_image_of_the_most_pixels_fits() -> None:
    assert Settings(max_pixels=4280 * 3520).body_limit > 2 * 4280 * 3520 + 100_000
    assert Settings(max_pixels=1, max_body_bytes=7).body_limit == 7


def test_a_batch_is_bounded_as_a_whole(service: Service) -> None:
    client = service(max_batch_files=2, max_body_bytes=3 * len(PNG))
    for count, status in ((2, 200), (4, 413)):
        assert client.post("/predict/batch", files=[("file", PNG)] * count).status_code == status
    many = client.post("/predict/batch", files=[("file", b"x")] * 3)
    assert (many.status_code, many.json()["type"]) == (422, "invalid-request")


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
