"""Short versions of `benchmarks.load`, which pass or fail."""

from pathlib import Path

import pytest

from benchmarks.client import form
from benchmarks.load import overload, terminations
from benchmarks.process import serving
from benchmarks.soak import soak
from benchmarks.versions import change_aliases
from tests.serve.bundles import make_bundle
from tests.serve.files import PNG

pytestmark = pytest.mark.slow


def test_too_many_requests_are_answered_or_refused(bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, bundle, queue_length=1) as server:
        figures = overload(server, form(PNG), 2.0)
    assert figures["other answers"] == 0
    assert 0 < figures["share of 503"] < 1
    assert figures["livez n"] > 0


def test_sigterm_again_and_again_loses_nothing(bundle: Path, tmp_path: Path) -> None:
    figures = terminations(tmp_path, bundle, form(PNG), 2)
    assert figures["requests"] >= 2 * 16
    assert (figures["lost"], figures["exit codes not 0"]) == (0, 0)


def test_every_answer_is_of_the_version_that_it_names(bundle: Path, tmp_path: Path) -> None:
    figures = change_aliases(tmp_path, (bundle, make_bundle(tmp_path / "other", seed=1)), PNG, 2)
    assert figures["errors"] == 0
    assert figures["answers of version 1"] and figures["answers of version 2"]
    assert figures["answers whose numbers are another version's"] == 0


def test_nothing_is_left_behind(bundle: Path, tmp_path: Path) -> None:
    figures = soak(tmp_path, bundle, [PNG], 3.0)
    assert figures["unexpected answers"] == 0
    assert figures["heatmaps asked for after they expired"] > 0
    assert figures["heatmaps left behind"] == figures["temporary files left behind"] == 0
    assert figures["file descriptors after"] <= figures["file descriptors before"] + 4  # clients that come and go
