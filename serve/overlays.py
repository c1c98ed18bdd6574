"""Overlays that a client fetches later: in memory, under random names, for a while."""

import secrets
import threading
import time
from collections.abc import Callable

from cachetools import TTLCache


class Overlays:
    """PNGs by random name, until they expire; what was not asked for the longest goes when there are too many.

    Args:
        seconds: how long each is kept.
        max_bytes: of all together; none may be larger.
        max_count: how many at a time.
        clock: seconds that never go back.
    """

    def __init__(
        self, seconds: float, max_bytes: int, max_count: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # A small one counts as its share of the bytes, which bounds their number.
        share = -(-max_bytes // max_count)
        self.seconds, self._lock = seconds, threading.Lock()
        self._kept: TTLCache[str, bytes] = TTLCache(max_bytes, seconds, clock, lambda png: max(len(png), share))

    def add(self, png: bytes) -> str:
        """Keeps a PNG and returns its name, 128 random bits."""
        name = secrets.token_hex(16)
        with self._lock:
            self._kept[name] = png
        return name

    def get(self, name: str) -> bytes | None:
        """The PNG, or None if there is none of that name or it expired."""
        with self._lock:
            return self._kept.get(name)
