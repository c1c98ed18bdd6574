"""The repository is found wherever the code is installed."""

from pathlib import Path

import pytest

from chestxray.tracking.repository import repository
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
