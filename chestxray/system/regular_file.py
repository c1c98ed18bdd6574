"""Open regular files only: no pipe that never answers, no device, and no link where none is wanted."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path, folder: int | None = None, *, links: bool = False) -> BinaryIO:
    """Open a file for reading, at once whatever it is.

    Args:
        path: of the file.
        folder: descriptor of the folder that a relative path goes by; by default the working directory.
        links: follow it if it is a symbolic link.

    Raises:
        OSError: there is no such file, no file can have that name, or it is not a regular one and was not opened.
    """
    try:
        _check_regular(os.stat(path, dir_fd=folder, follow_symlinks=links), path)
    except ValueError:  # a null byte
        raise OSError(errno.EINVAL, "no name that a file can have") from None
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    file = open(os.open(path, flags, dir_fd=folder), "rb")  # noqa: PTH123, SIM115 # open in the folder, and returned
    try:
        _check_regular(os.fstat(file.fileno()), path)  # it may be another one by now
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: str | Path, limit: int | None = None, *, whole: bool = True) -> bytes:
    """Read a file, through links such as those to DVC's cache.

    Args:
        path: of the file.
        limit: bytes that are read at most; None for no limit.
        whole: whether a longer file is an error.

    Raises:
        OSError: as `open_regular` says, or it has more bytes than that (EFBIG).
    """
    with open_regular(path, links=True) as file:
        if limit is None:
            return file.read()
        size = os.fstat(file.fileno()).st_size if whole else 0
        if size <= limit and len(data := file.read(limit + whole)) <= limit:
            return data
    raise OSError(errno.EFBIG, f"file larger than the {limit:,} bytes that are accepted", str(path))


def _check_regular(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file: a folder, a pipe, a socket or a device", str(path))
