"""The repository is found wherever the code is installed."""

from pathlib import Path

import pytest

from chestxray.tracking.repository import repository, workspace
from tests.repository import TOP


def test_the_repository_is_where_dvc_says_then_here_then_where_the_code_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert repository() == TOP
    (tmp_path / "dvc.yaml").touch()
    assert repository() == tmp_path
    monkeypatch.setenv("DVC_ROOT", str(TOP))
    assert repository() == TOP


def test_of_an_experiment_in_a_temporary_copy_the_copy_is_worked_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "top/.dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "top")
    for top in (tmp_path / "top", tmp_path / "linked"):
        monkeypatch.setenv("DVC_ROOT", str(top))
        monkeypatch.chdir(copy)
        assert (repository(), workspace()) == (top, copy)
        monkeypatch.chdir(tmp_path)
        assert repository() == workspace() == top
