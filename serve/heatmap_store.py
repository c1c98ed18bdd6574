"""Store heatmaps that clients fetch later: PNG files under random names, for a while."""

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from cachetools import TTLCache

PREFIX = "chestxray-heatmaps-"


class HeatmapStore:
    """Keep PNGs by random name until they expire; those not fetched the longest go when there are too many.

    They are files, not memory: see docs/decisions/linked-heatmaps.md.

    Args:
        parent: folder in which to make a private one for the files, and in which those that killed processes left are
            removed when all that they hold has expired.
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
        parent.mkdir(parents=True, exist_ok=True)
        for left_behind in parent.glob(f"{PREFIX}*"):
            with suppress(OSError):  # it is another user's, or is just going
                if time.time() - left_behind.stat().st_mtime > seconds:
                    shutil.rmtree(left_behind)
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))

    def add(self, pngs: Iterable[bytes]) -> list[str]:
        """Keep PNGs, and return their names: 128 random bits and an ending.

        Raises:
            OSError: a file can't be written.
        """
        names = []
        for png in pngs:
            name = f"{secrets.token_hex(16)}.png"
            with self._lock:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been tidied away
                self._sizes[name] = len(png)
                (self._folder / name).write_bytes(png)
            names.append(name)
        self.sweep()
        return names

    def get(self, name: str) -> bytes | None:
        """Return the PNG, or None if there is none of that name or it expired."""
        with self._lock, suppress(FileNotFoundError):
            return (self._folder / name).read_bytes() if self._sizes.get(name) is not None else None
        return None

    def sweep(self) -> None:
        """Remove the files of what expired or had to make room."""
        with self._lock, suppress(OSError):  # what can't be removed now can be at the next time
            for path in self._folder.iterdir():
                if path.name not in self._sizes:
                    path.unlink()

    def close(self) -> None:
        """Remove all."""
        with self._lock:
            shutil.rmtree(self._folder, ignore_errors=True)
