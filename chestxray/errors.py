"""Define the error that a person can mend, and show errors in one line."""

import errno
import os
import re
from urllib.parse import unquote

INTERRUPTED = 130
"""Exit code of a program that was stopped by Ctrl-C, as a shell gives it."""

NO_ROOM = {
    errno.ENOSPC: "free some space there, then run the same again",
    errno.EDQUOT: "free some of your quota there, then run the same again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then run the same again",
}
"""Why a file can't be written in full, and how to mend it."""

CREDENTIALS = re.compile(r"(?<=://)\S*@|(?<=:/)[^\s/@:]+:\S*@")
"""User and password of a URI, also of one that lost a slash as a path; too much rather than too little where there is
another "@"."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters of control, line ends, and marks that turn the direction of writing."""
QUERY = re.compile(r"(?<=://)([^\s?]*)\?[^\s'\"]*")


class UserError(ValueError):
    """Something that was given can't be used; the message names it, and how to mend it.

    The command line and the stages show its message alone, without a traceback.
    """


def one_line(error: UserError | OSError) -> str:
    """Return an error as the command line shows it: its message in one line, and the file if it is about one.

    A character that would move the cursor or colour a terminal, as the name of a file may have, is shown as its code.
    """
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        return visible(f"{said}; {NO_ROOM[error.errno]}" if error.errno in NO_ROOM else said)
    lines = [line.strip() for line in str(error).split("\n")]
    return visible(masked("; ".join(line for line in lines if line)) or type(error).__name__)


def was_interrupted(error: BaseException) -> bool:
    """Say whether an error is a stop by Ctrl-C, or of a library that failed at ending its work for one."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


def visible(text: str) -> str:
    """Return a text in which characters that would steer a terminal are shown as their codes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def no_room(error: BaseException, path: str | None = None) -> OSError | None:
    """Return, of an error that comes of a full disk, an `OSError` that says so; of another None.

    The libraries that write tables, weights and databases raise errors of their own, some of which have no number.

    Args:
        error: which may have been raised from others, or while others were handled.
        path: of what was written; of the error's own file by default.
    """
    at: BaseException | None = error
    while at is not None:
        for number in NO_ROOM:
            said = not isinstance(at, UserError) and os.strerror(number) in str(at)
            if said or (isinstance(at, OSError) and at.errno == number):
                return OSError(number, os.strerror(number), path or getattr(at, "filename", None))
        if "database or disk is full" in str(at):  # SQLite's words
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path or "the store of MLflow")
        at = at.__cause__ or at.__context__
    return None


def masked(text: str, *uris: str) -> str:
    """Return a text without user names, passwords and queries of URIs.

    Args:
        text: of an error, which may quote a URI, or a part of it.
        uris: known ones; what is before their host is masked without the rest of the URI too.
    """
    for secret in (secret for uri in uris for secret in _secrets(uri)):
        text = text.replace(secret, "***")
    return QUERY.sub(r"\1?***", CREDENTIALS.sub("***@", text))


def _secrets(uri: str) -> list[str]:
    """Return the user and the password of a URI as they may be quoted, the longest first."""
    found = CREDENTIALS.search(uri)
    given = found[0].removesuffix("@") if found else ""
    password = given.partition(":")[2]
    return [secret for text in (given, password) for secret in (text, unquote(text)) if secret]
