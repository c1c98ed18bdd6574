"""Read a regular file and nothing else: a pipe or a device would wait for ever, or be touched by being opened."""

import errno
import os
import stat
from pathlib import Path


class NoRegularFileError(OSError):
    """It is a folder, a pipe, a socket or a device."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "no regular file: a folder, a pipe, a socket or a device")


def read_regular_file(path: str, limit: int, whole: bool = True) -> bytes:
    """Read at most so many bytes.

    Args:
        path: of the file; links are followed.
        limit: bytes.
        whole: whether a longer file is an error.

    Raises:
        NoRegularFileError: it is something else; it was not opened.
        OSError: it can't be read, no file can have that name, or it has more bytes than that (EFBIG).
    """
    try:
        _check_regular(Path(path).stat())
    except ValueError:
        raise OSError(errno.EINVAL, "no name that a file can have") from None
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check_regular(os.fstat(file.fileno()))
        data = file.read(limit + whole)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"file larger than the {limit:,} bytes that are accepted")
    return data


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NoRegularFileError
