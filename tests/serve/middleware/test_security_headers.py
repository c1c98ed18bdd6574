"""Browsers are told to be careful with every answer."""

from fastapi.testclient import TestClient

from serve.documentation import PAGE_PATH, POLICY
from tests.serve.clients import SAFE
from tests.serve.files import PNG


def test_every_answer_has_security_headers(client: TestClient) -> None:
    asked = [client.get(path) for path in ("/livez", "/docs", "/nowhere", "/v1/model", "/metrics")]
    asked.append(client.post("/predict", files={"file": PNG}))
    asked.append(client.post("/predict", files={"file": b"garbage"}))
    for answer in asked:
        expected = SAFE | ({"cache-control": "no-cache"} if "etag" in answer.headers else {})
        if answer.url.path == PAGE_PATH:
            expected |= {"content-security-policy": POLICY}
        assert expected.items() <= answer.headers.items()
