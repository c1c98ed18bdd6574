"""Regular files are read, and no more of them than is allowed; nothing else is even opened."""

import os
from pathlib import Path

import pytest

from chestxray.system.regular_file import open_regular, read_regular

CONTENT = b"0123456789"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def test_no_more_is_read_than_allowed(file: Path) -> None:
    assert read_regular(file) == read_regular(file, 10) == read_regular(str(file), 11) == CONTENT
    assert read_regular(file, 4, whole=False) == CONTENT[:4]
    with pytest.raises(OSError, match="larger than the 9 bytes that are accepted"):
        read_regular(file, 9)


def test_a_link_is_followed_only_if_it_may_be(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_regular(link) == CONTENT
    with pytest.raises(OSError, match="no regular file"):
        open_regular(link)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder", "device"])
def test_nothing_else_is_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to("pipe")
    path = {"folder": tmp_path, "device": Path("/dev/zero")}.get(kind, tmp_path / kind)
    monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(OSError, match="no regular file"):
        read_regular(path, 1)


@pytest.mark.parametrize("limit", [None, 1])
def test_a_name_that_no_file_can_have_is_an_error_like_any_other(limit: int | None) -> None:
    with pytest.raises(OSError, match="no name that a file can have"):
        read_regular("a\0b", limit)
