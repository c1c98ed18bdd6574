"""The service is what its document says, whatever is asked (schemathesis, against a real process)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.engine import events, from_schema

from benchmarks.client import Client
from benchmarks.process import Server, serving
from tests.serve.files import JPEG, PNG

pytestmark = pytest.mark.slow
EXAMPLES = 25
"""Fuzzed requests per operation and kind, beside those that cover every keyword of the document."""


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, bundle) as started:
        yield started


def say_that_files_are_radiographs(document: dict[str, Any]) -> None:
    """JSON Schema can't, and valid requests must carry some; invalid ones carry anything."""
    schemathesis.openapi.format("radiograph", strategies.sampled_from([PNG, JPEG]))
    bodies = [schema for name, schema in document["components"]["schemas"].items() if name.startswith("Body_")]
    files = [body["properties"]["file"] for body in bodies]
    assert len(files) == 2
    for file in files:
        file.get("items", file)["format"] = "radiograph"


def test_requests_made_from_the_document_meet_no_surprise(server: Server) -> None:
    with Client(server.port) as client:
        document = client.get("/openapi.json").json()
    say_that_files_are_radiographs(document)
    project = ProjectConfig(
        base_url=f"http://127.0.0.1:{server.port}",
        continue_on_failure=True,
        request_timeout=60,  # seconds: the machine may be busy
        generation=GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none"),
    )
    config = SchemathesisConfig(projects=ProjectsConfig(default=project))
    failures, cases = [], 0
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            cases += len(event.recorder.cases)
            checks = [check for made in event.recorder.checks.values() for check in made]
            failures += [f"{check.name}: {check.failure_info}" for check in checks if check.failure_info]
    assert not failures
    assert cases > 7 * EXAMPLES
    assert server.process.poll() is None
