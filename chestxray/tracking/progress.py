"""Show the progress of long work: a bar on a terminal, plain lines elsewhere (logs, CI)."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int, unit: str = "image") -> Iterator[T]:
    """Pass `items` on, and show on standard error how many have gone by.

    Args:
        items: anything to iterate over.
        what: what is being done, such as "preparing phantom".
        total: how many items will come.
        unit: what one item is.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=f" {unit}")
        return
    started = said = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{what}: {done} of {total} {unit}s, {said - started:.0f} s", file=sys.stderr, flush=True)
    print(f"{what}: {done} {unit}s in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
