"""Store heatmaps that clients fetch later: PNG files under random names, for a while."""

import errno
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from cachetools import TTLCache

from chestxray.system.regular_file import open_regular

PREFIX = "chestxray-heatmaps-"
NAME = re.compile(r"[0-9a-f]{32}\.png")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a disk says that has no room."""


class HeatmapStore:
    """Keep PNGs by random name until they expire; those not fetched the longest go when there are too many.

    They are files, not memory, and processes with the same parent find each other's: see
    docs/decisions/linked-heatmaps.md.

    Args:
        parent: folder in which to make one for the files, in which others of this user are looked for what this one
            has not, and those that killed processes left are removed when all that they hold has expired.
        seconds: how long each is kept.
        max_bytes: of all together; none may be larger.
        max_count: how many at a time.
        clock: returns seconds that never go back.

    Raises:
        OSError: the folder can't be made or written.
    """

    def __init__(
        self, parent: Path, seconds: float, max_bytes: int, max_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # A small one counts as its share of the bytes, which bounds their number.
        share = -(-max_bytes // max_count)
        self.seconds = seconds
        self._lock = threading.Lock()
        self._sizes: TTLCache[str, int] = TTLCache(max_bytes, seconds, clock, lambda size: max(size, share))
        self._max_bytes = max_bytes
        self._parent = parent
        parent.mkdir(parents=True, exist_ok=True)
        for left_behind in parent.glob(f"{PREFIX}*"):
            with suppress(OSError), _Folder(left_behind) as folder:  # another user's, no folder, or just going
                if time.time() - folder.changed() > seconds:
                    folder.remove()
        self._folder = self._new_folder()

    def add(self, pngs: Iterable[bytes]) -> list[str]:
        """Keep PNGs, and return their names: 128 random bits and an ending.

        Those that were not fetched the longest make room where the disk is full.

        Raises:
            OSError: a file can't be written; then none is kept.
        """
        names: list[str] = []
        try:
            for png in pngs:
                names.append(f"{secrets.token_hex(16)}.png")
                with self._lock:
                    self._write(names[-1], png, names)
        except BaseException:
            with self._lock:
                for name in names:
                    self._sizes.pop(name, None)
                    self._folder.unlink(name)
            raise
        self.sweep()
        return names

    def get(self, name: str) -> bytes | None:
        """Return the PNG, whichever process keeps it, or None if there is none of that name or it expired."""
        with self._lock, suppress(OSError):
            size = self._sizes.get(name)
            if size is not None:
                return self._folder.read(name, size)
        return self._of_another(name) if NAME.fullmatch(name) else None

    def _of_another(self, name: str) -> bytes | None:
        for path in self._parent.glob(f"{PREFIX}*"):
            if path != self._folder.path:
                with suppress(OSError), _Folder(path) as folder:
                    return folder.read_fresh(name, self.seconds, self._max_bytes)
        return None

    def sweep(self) -> None:
        """Remove the files of what expired or had to make room."""
        with self._lock, suppress(OSError):  # what can't be removed now can be at the next time
            for name in self._folder.names():
                if name not in self._sizes:
                    self._folder.unlink(name)

    def close(self) -> None:
        """Remove all."""
        with self._lock, suppress(OSError):
            self._folder.remove()
            self._folder.close()

    def _write(self, name: str, png: bytes, together: list[str]) -> None:
        """Write a file, in place of older ones that are not part of the same answer if need be."""
        self._sizes[name] = len(png)
        while True:
            try:
                self._folder.write(name, png)
                return
            except FileNotFoundError:  # it was tidied away
                self._folder.close()
                self._folder = self._new_folder()
            except OSError as error:
                self._folder.unlink(name)
                oldest = self._sizes.popitem()[0] if error.errno in FULL else name
                self._folder.unlink(oldest)
                if oldest in together:
                    raise

    def _new_folder(self) -> "_Folder":
        self._parent.mkdir(parents=True, exist_ok=True)
        return _Folder(Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent)))


class _Folder:
    """A folder that stays the same whatever comes to lie at its path, and files in it that have names as heatmaps have.

    Raises:
        OSError: there is none, it is a link, or another user's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if os.fstat(self._descriptor).st_uid != os.geteuid():
            self.close()
            raise PermissionError(errno.EPERM, "another user's folder", str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def changed(self) -> float:
        """Return when a file last came or went, in seconds since 1970."""
        return os.fstat(self._descriptor).st_mtime

    def names(self) -> list[str]:
        return [name for name in os.listdir(self._descriptor) if NAME.fullmatch(name)]  # noqa: PTH208 # not by its path

    def read(self, name: str, size: int) -> bytes:
        """Read a file of so many bytes.

        Raises:
            OSError: it has more or fewer, so somebody else wrote it.
        """
        with open_regular(name, self._descriptor) as file:
            content = file.read(size + 1)
        if len(content) != size:
            raise OSError(errno.EIO, "a heatmap of another size")
        return content

    def read_fresh(self, name: str, seconds: float, max_bytes: int) -> bytes:
        """Read a file that another process wrote, and has written whole before anybody knew its name.

        Raises:
            OSError: it is older than that, or larger.
        """
        with open_regular(name, self._descriptor) as file:
            status = os.fstat(file.fileno())
            if time.time() - status.st_mtime >= seconds or status.st_size > max_bytes:
                raise OSError(errno.ENOENT, "an expired heatmap")
            return file.read(status.st_size)

    def write(self, name: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=self._descriptor), "wb") as file:  # noqa: PTH123 # not by its path
            file.write(content)

    def unlink(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def remove(self) -> None:
        """Remove the files, and the folder if nothing else is in it and it is still at its path."""
        for name in self.names():
            self.unlink(name)
        if os.path.samestat(self.path.lstat(), os.fstat(self._descriptor)):
            self.path.rmdir()

    def close(self) -> None:
        os.close(self._descriptor)
