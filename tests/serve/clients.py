"""Ask a service that runs in this process."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from tests.serve.files import PNG

Service = Callable[..., TestClient]
"""Makes a client of a service with other settings, as the fixture `service` does."""

SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every answer that does not say otherwise."""


def ask(client: TestClient, data: bytes = PNG, **options: str | float) -> dict[str, Any]:
    answer = client.post("/predict", files={"file": data}, params=options)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content
