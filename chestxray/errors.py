"""Define the error that a person can mend, and show errors in one line."""

INTERRUPTED = 130
"""Exit code of a program that was stopped by Ctrl-C, as a shell gives it."""


class UserError(ValueError):
    """Something that was given can't be used; the message names it, and how to mend it.

    The command line and the stages show its message alone, without a traceback.
    """


def one_line(error: UserError | OSError) -> str:
    """Return an error as the command line shows it: its message in one line, and the file if it is about one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__
