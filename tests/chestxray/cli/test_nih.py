"""`chestxray nih`: what it says of what it brought, and of what it can't bring."""

from pathlib import Path

import pytest

from chestxray.cli import nih as command
from chestxray.cli.main import main
from tests.chestxray.datasets.download.small_release import PATIENTS, official_files, release
from tests.chestxray.loopback import serving


def test_the_command_says_what_it_brought_how_to_cite_and_what_to_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "nih"
    with serving() as server:
        server.files.update(official_files())
        monkeypatch.setattr(command, "NIH", release(server))
        assert main(["nih", "--images", "all", "--root", str(root), "--base-url", f"{server.url}/"]) == 0
    said = capsys.readouterr().out
    assert f"{len(PATIENTS)} images of 12 patients, 3 of them official test" in said
    assert "CVPR 2017" in said
    assert "NIH Clinical Center" in said
    assert "Research use only" in said
    assert said.endswith(f"batches:\n  nih:\n    root: {root}\n")


def test_of_a_batch_in_the_repository_it_says_how_to_track_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        server.files.update(official_files())
        monkeypatch.setattr(command, "NIH", release(server))
        assert main(["nih", "--images", "all", "--root", "data/raw/nih", "--base-url", f"{server.url}/"]) == 0
    assert capsys.readouterr().out.endswith("dvc add data/raw/nih\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--images", "0"], "at least 1"), (["--base-url", "file:///etc"], "expected http")],
)
def test_the_command_tells_errors_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nih", "--root", str(tmp_path), "--tables", str(tmp_path / "none"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("chestxray nih: ") and said in line
