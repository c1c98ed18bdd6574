"""Every request has an id, its own or ours."""

from fastapi.testclient import TestClient


def test_request_ids_are_taken_if_harmless(client: TestClient) -> None:
    taken = client.get("/nowhere", headers={"X-Request-ID": "abc-1"})
    assert taken.headers["x-request-id"] == taken.json()["request_id"] == "abc-1"
    made = client.get("/livez", headers={"X-Request-ID": "<script>"}).headers["x-request-id"]
    assert len(made) == 32
