"""Regular files are read, and nothing else is so much as opened."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chestxray.system.regular_file import NotRegularError, open_regular, read_regular


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    assert read_regular(str(file), 10) == read_regular(file) == b"0123456789"
    assert read_regular(str(file), 8, whole=False) == b"01234567"
    with pytest.raises(OSError, match="larger than the 9 bytes"):
        read_regular(str(file), 9)


@pytest.mark.parametrize("read", [read_regular, lambda path: open_regular(path, links=True)])
def test_what_is_no_regular_file_is_not_opened(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    monkeypatch.setattr(os, "open", lambda *arguments, **named: pytest.fail("it was opened"))
    for name in ("pipe", "link", ".", "/dev/zero"):
        with pytest.raises(NotRegularError, match="not a regular file"):
            read(str(tmp_path / name))


def test_links_are_followed_only_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link") == b"x"
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "link")


def test_a_name_that_no_file_can_have_is_said() -> None:
    with pytest.raises(OSError, match="no name that a file can have"):
        read_regular("a\0b")
