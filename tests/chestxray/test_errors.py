"""Errors that are shown hide what is secret."""

import errno

import pytest

from chestxray.errors import UserError, masked, no_room, one_line

MASKED = {
    "no store at https://me:secret@host/path today": "no store at https://***@host/path today",
    "'postgresql://me:se/c@ret@host:5432/db'": "'postgresql://***@host:5432/db'",
    "https://host/blob?sig=secret&se=2026 failed": "https://host/blob?*** failed",
    "sqlite:////data/mlflow.db is locked": "sqlite:////data/mlflow.db is locked",
    "no file s3:/me:secret@bucket/x/bundle.json": "no file s3:/***@bucket/x/bundle.json",
    "models:/me:secret@champion": "models:/***@champion",
    "models:/chest-xray@champion is not there": "models:/chest-xray@champion is not there",
}


@pytest.mark.parametrize("text", MASKED)
def test_credentials_of_uris_are_masked(text: str) -> None:
    assert masked(text) == one_line(UserError(text)) == MASKED[text]


def test_credentials_of_a_known_uri_are_masked_wherever_they_stand() -> None:
    uri = "postgresql://me:se%40cret@host/db"
    assert masked("password 'se@cret' of me:se%40cret at host", uri) == "password '***' of *** at host"


def test_what_would_steer_a_terminal_is_shown_as_a_code() -> None:
    missing = OSError(errno.ENOENT, "No such file or directory", "a\n\x1b[2Jröntgen \u202egnp.exe")
    assert one_line(missing) == "No such file or directory: a\\n\\x1b[2Jröntgen \\u202egnp.exe"
    assert one_line(UserError("first\n\x9bsecond")) == "first; \\x9bsecond"


def test_a_full_disk_is_told_in_one_line_whatever_library_met_it() -> None:
    plain = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("not logged")
    wrapped.__context__ = ValueError("(sqlite3.OperationalError) database or disk is full")
    for error in (plain, OSError("[Errno 28] Error writing bytes: No space left on device"), wrapped):
        told = no_room(error)
        assert told is not None and one_line(told).startswith("No space left on device") and "free" in one_line(told)
    assert "data/a.npy; free" in one_line(no_room(plain, "data/a.npy") or plain)
    assert no_room(OSError(errno.EACCES, "Permission denied", "a")) is None
    assert no_room(UserError("File too large: 9 GiB")) is None
