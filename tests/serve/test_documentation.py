"""The documentation of the API: a page that needs no internet, and a document that clients can be generated from."""

import importlib
import io
import re
import subprocess
import sys
from types import ModuleType

import httpx2
import pytest
from fastapi.testclient import TestClient

from serve.documentation import BATCH_EXAMPLE, TAGS
from serve.schemas import BatchPrediction, IndexedPrediction, IndexedProblem
from tests.serve.clients import SAFE, Service
from tests.serve.files import JPEG, PNG

SETTINGS = """
package_name_override: generated_client
post_hooks: []
content_type_overrides: {image/png: application/octet-stream, application/problem+json: application/json}
"""
KEY = "a key of this test alone"


def test_the_page_is_made_of_what_the_service_has_and_may_load_nothing_else(service: Service) -> None:
    client = service(api_key=KEY)
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "http" not in policy
    assert "<script>" not in page.text and " on" not in re.sub(r">[^<]*<", "><", page.text)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 5 and not any("//" in address for address in loaded)
    for address in loaded:
        if not address.startswith("data:"):
            answer = client.get(address)
            assert answer.status_code == 200 and len(answer.content) > 50, address
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/docs/swagger-ui.css").headers["content-type"].startswith("text/css")
    assert client.get("/docs/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    assert (
        client.get("/docs/core.py").status_code == client.get("/redoc", headers={"X-API-Key": KEY}).status_code == 404
    )


def test_the_document_itself_is_safe_as_any_answer(client: TestClient) -> None:
    assert SAFE.items() <= client.get("/openapi.json").headers.items()


def test_every_operation_says_in_words_what_it_is_for(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in TAGS}
    assert all(" " in operation["summary"] and operation["description"].endswith(".") for operation in operations)
    names = {operation["operationId"] for operation in operations}
    routes = {"model_card", "model_card_for_people", "metrics", "gradcam", "predict", "predict_batch"}
    assert names == {"livez", "readyz", *routes}


def test_the_example_of_a_batch_is_an_answer(client: TestClient) -> None:
    answers = BatchPrediction.model_validate(BATCH_EXAMPLE).answers
    assert [type(answer) for answer in answers] == [IndexedPrediction, IndexedProblem]
    content = client.get("/openapi.json").json()["paths"]["/predict/batch"]["post"]["responses"]["200"]["content"]
    shown = BatchPrediction.model_validate(content["application/json"]["example"])
    assert shown == BatchPrediction.model_validate(BATCH_EXAMPLE)
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/BatchPrediction"}
    real = client.post("/predict/batch", files=[("file", PNG), ("file", b"garbage")]).json()["answers"]
    assert [set(answer) for answer in real] == [set(answer) for answer in BATCH_EXAMPLE["answers"]]
    assert set(real[0]["findings"][0]) == set(BATCH_EXAMPLE["answers"][0]["findings"][0])


@pytest.fixture(scope="module")
def generated(url: str, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """A client of the service, generated from its document."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(httpx2.get(f"{url}/openapi.json").content)
    (folder / "settings.yaml").write_text(SETTINGS)
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    command += ["--path", "openapi.json", "--config", "settings.yaml", "--output-path", "generated_client"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("generated_client")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.slow
def test_a_generated_client_uploads_files(url: str, generated: ModuleType) -> None:
    def part(name: str) -> ModuleType:
        return importlib.import_module(f"generated_client.{name}")

    def file(data: bytes) -> object:
        return part("types").File(payload=io.BytesIO(data), file_name="image")

    client = generated.Client(base_url=url)
    one = part("models.one_file").OneFile(file=file(PNG))
    prediction = part("api.predictions.predict").sync(client=client, body=one)
    assert len(prediction.findings) == 14 and prediction.image.format_ == "PNG"
    several = part("models.several_files").SeveralFiles(file=[file(JPEG), file(b"garbage")])
    answers = part("api.predictions.predict_batch").sync(client=client, body=several).answers
    assert [type(answer).__name__ for answer in answers] == ["IndexedPrediction", "IndexedProblem"]
    assert answers[1].type_ == "unsupported-format"
    refused = part("api.predictions.predict").sync(
        client=client, body=part("models.one_file").OneFile(file=file(b"garbage"))
    )
    assert type(refused).__name__ == "ProblemDetails" and refused.status == 415
