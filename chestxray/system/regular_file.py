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
        OSError: there is no such file, or it is not a regular one.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(descriptor, "rb")  # noqa: PTH123 # it is open already


def read_regular(path: Path) -> bytes:
    """Read a file, through links such as those to DVC's cache.

    Raises:
        OSError: there is no such file, or it is not a regular one.
    """
    with open_regular(path, links=True) as file:
        return file.read()
