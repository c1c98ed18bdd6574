"""Overlays that a client fetches later: in memory, under random names, for a while."""

import secrets
import threading
import time
from collections.abc import Callable


class Overlays:
    """PNGs by random name; the oldest go when they expire or when there are too many, or too many bytes.

    Args:
        seconds: how long each is kept.
        max_bytes: of all together.
        max_count: how many at a time.
        clock: seconds that never go back.
    """

    def __init__(
        self, seconds: float, max_bytes: int, max_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self.max_bytes, self.max_count, self.clock = seconds, max_bytes, max_count, clock
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._lock = threading.Lock()

    def add(self, png: bytes) -> str:
        """Keeps a PNG and returns its name, 128 random bits."""
        name = secrets.token_hex(16)
        with self._lock:
            self._kept[name] = (self.clock() + self.seconds, png)
            self._forget()
        return name

    def get(self, name: str) -> bytes | None:
        """The PNG, or None if there is none of that name or it expired."""
        with self._lock:
            self._forget()
            _, png = self._kept.get(name, (0.0, None))
        return png

    def _forget(self) -> None:
        total = sum(len(png) for _, png in self._kept.values())
        for name, (expires, png) in list(self._kept.items()):  # the oldest first
            if expires > self.clock() and total <= self.max_bytes and len(self._kept) <= self.max_count:
                return
            del self._kept[name]
            total -= len(png)
