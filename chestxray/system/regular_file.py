"""Open regular files only: no pipe that never answers, no device, and no link where none is wanted."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegularError(OSError):
    """It is a folder, a pipe, a socket or a device."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file, but a folder, a pipe, a socket or a device", str(path))


def open_regular(path: str | Path, folder: int | None = None, *, links: bool = False) -> BinaryIO:
    """Open a file for reading, at once whatever it is; what is no regular file is not opened.

    Args:
        path: of the file.
        folder: descriptor of the folder that a relative path goes by; by default the working directory.
        links: follow it if it is a symbolic link.

    Raises:
        NotRegularError: it is something else.
        OSError: there is no such file, it can't be read, or no file can have that name.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    try:
        # Opening a device may already set it off.
        _check_regular(os.stat(path, dir_fd=folder, follow_symlinks=links), path)
        descriptor = os.open(path, flags, dir_fd=folder)
    except ValueError:
        raise OSError(errno.EINVAL, "no name that a file can have") from None
    try:
        _check_regular(os.fstat(descriptor), path)  # it may have been replaced in between
    except OSError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")  # noqa: PTH123 # it is open already


def _check_regular(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(path)


def read_regular(path: str | Path, limit: int | None = None, *, whole: bool = True) -> bytes:
    """Read a file, through links such as those to DVC's cache.

    Args:
        path: of the file.
        limit: bytes to read at most; by default all.
        whole: whether a longer file is an error.

    Raises:
        NotRegularError: it is no regular file.
        OSError: there is no such file, it can't be read, no file can have that name, or it has more bytes than `limit`
            (EFBIG).
    """
    with open_regular(path, links=True) as file:
        if limit is None:
            return file.read()
        data = file.read(limit + whole)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"file larger than the {limit:,} bytes that are accepted")
    return data
