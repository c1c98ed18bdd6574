"""Without the key nothing is told but what is open to all."""

import logging

import pytest

from serve.json_log import JSONLines
from tests.serve.clients import Service, ask
from tests.serve.files import PNG

KEY = "a key of this test alone"


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
