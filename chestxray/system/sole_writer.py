"""Let one process at a time write a file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chestxray.errors import UserError


@contextmanager
def sole_writer(output: Path, work: str) -> Iterator[None]:
    """Keep other processes from this work on a file, whatever they would put into it, until the block ends.

    The lock is a file beside it, `.<name>.lock`, and goes with the process: what a killed one leaves locks nothing.

    Args:
        output: the file.
        work: what others are told that this process is at.

    Raises:
        UserError: another process is at it.
        OSError: the folder can't be written.
    """
    path = output.with_name(f".{output.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, work)
    while not _is_at(path, descriptor):  # the process that had it removed it meanwhile: it locks nothing any more
        os.close(descriptor)
        descriptor = _locked(path, work)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, work: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise UserError(f"another process is {work}: wait for it, or stop it, and call again") from None
        raise
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
