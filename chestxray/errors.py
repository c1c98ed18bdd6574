"""Define the error that a person can mend, and show errors in one line."""

import re
from urllib.parse import unquote

INTERRUPTED = 130
"""Exit code of a program that was stopped by Ctrl-C, as a shell gives it."""

CREDENTIALS = re.compile(r"(?<=://)\S*@")
"""User and password of a URI; too much rather than too little where the text has another "@"."""
QUERY = re.compile(r"(?<=://)([^\s?]*)\?[^\s'\"]*")


class UserError(ValueError):
    """Something that was given can't be used; the message names it, and how to mend it.

    The command line and the stages show its message alone, without a traceback.
    """


def one_line(error: UserError | OSError) -> str:
    """Return an error as the command line shows it: its message in one line, and the file if it is about one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    lines = [line.strip() for line in str(error).splitlines()]
    return masked("; ".join(line for line in lines if line)) or type(error).__name__


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
