"""The service is what its document says, whatever is asked (schemathesis, against a real process)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.engine import events, from_schema

from benchmarks.process import Server, serving
from tests.dicom_files import dicom
from tests.serve.files import GREY, JPEG, PNG

pytestmark = pytest.mark.slow
EXAMPLES = 25
"""Fuzzed requests per operation and kind, beside those that cover every keyword of the document."""


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, bundle) as started:
        yield started


def before_call(_: schemathesis.HookContext, case: schemathesis.Case, sent: dict[str, Any]) -> None:
    """Make valid what the document can't say.

    Where a form takes several files schemathesis makes one of a media type, and would send it as text. Names of
    operating points are the model's, and only one of name and threshold is taken.
    """
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid:
        case.query.pop("operating_point", None)
    file = case.body.get("file") if isinstance(case.body, dict) else None
    if valid and case.path == "/predict/batch" and isinstance(file, bytes):
        sent["files"] = [("file", ("file", file))]


@pytest.fixture
def radiographs() -> Iterator[None]:
    """A file of each kind that the document names; valid requests carry these, invalid ones anything."""
    for media_type, file in {"image/png": PNG, "image/jpeg": JPEG, "application/dicom": dicom(GREY)}.items():
        schemathesis.openapi.media_type(media_type, strategies.just(file))
    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


@pytest.mark.usefixtures("radiographs")
def test_requests_made_from_the_document_meet_no_surprise(server: Server) -> None:
    project = ProjectConfig(
        continue_on_failure=True,
        request_timeout=60,  # seconds: the machine may be busy
        generation=GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none"),
    )
    config = SchemathesisConfig(projects=ProjectsConfig(default=project))
    served = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json", config=config)
    failures: list[str] = []
    cases = 0
    for event in from_schema(served).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            cases += len(event.recorder.cases)
            checks = [check for made in event.recorder.checks.values() for check in made]
            failures += [f"{check.name}: {check.failure_info}" for check in checks if check.failure_info]
    assert not failures
    assert cases > 7 * EXAMPLES
    assert server.process.poll() is None
