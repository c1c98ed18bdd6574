"""Overlays that a client fetches later: files under random names, for a while."""

import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

NAME = re.compile(r"[0-9a-f]{32}\.png")


class Overlays:
    """PNGs by random name, until they expire; the oldest goes when there are too many.

    Not in memory: what lives for minutes among buffers that live for milliseconds tears holes into the heap, which
    then grew by 17 MiB in 10,000 requests.

    Args:
        folder: for the files, and for this object alone: overlays that a killed process left there are removed.
        seconds: how long each is kept.
        max_bytes: of all together; none may be larger.
        max_count: how many at a time.
        clock: seconds that never go back.

    Raises:
        OSError: the folder can't be made or written.
    """

    def __init__(
        self, folder: Path, seconds: float, max_bytes: int, max_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self._folder, self._clock, self._lock = seconds, folder, clock, threading.Lock()
        self._max_bytes, self._max_count, self._bytes = max_bytes, max_count, 0
        self._kept: dict[str, tuple[float, int]] = {}  # when it expires and its size; the oldest first
        self._make_folder()
        for left in folder.iterdir():
            if NAME.fullmatch(left.name):
                left.unlink()

    def add(self, png: bytes) -> str:
        """Keeps a PNG and returns its name, 128 random bits.

        Raises:
            OSError: the file can't be written.
        """
        name = secrets.token_hex(16)
        with self._lock:
            self._kept[name] = (self._clock() + self.seconds, len(png))
            self._bytes += len(png)
            self._make_folder()  # again: programs that tidy temporary folders may have removed it
            self._file(name).write_bytes(png)
        self.sweep()
        return name

    def get(self, name: str) -> bytes | None:
        """The PNG, or None if there is none of that name or it expired."""
        self.sweep()
        with self._lock:
            return self._file(name).read_bytes() if name in self._kept and self._file(name).exists() else None

    def sweep(self, all: bool = False) -> None:
        """Removes what expired, the oldest of too many, or all."""
        with self._lock:
            while self._kept:
                name, (expires, size) = next(iter(self._kept.items()))
                crowded = self._bytes > self._max_bytes or len(self._kept) > self._max_count
                if not (all or crowded or expires <= self._clock()):
                    return
                self._file(name).unlink(missing_ok=True)
                del self._kept[name]
                self._bytes -= size

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.png"
