"""Show the progress of long work: a bar on a terminal, plain lines elsewhere (logs, CI)."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TypeVar

SECONDS_BETWEEN_LINES = 10.0

T = TypeVar("T")


def progress(
    items: Iterable[T],
    what: str,
    total: int,
    unit: str = "image",
    before: int = 0,
    count: Callable[[T], int] = lambda item: 1,
) -> Iterator[T]:
    """Pass `items` on, and show on standard error how many have gone by, how fast, and how long the rest will take.

    Args:
        items: anything to iterate over.
        what: what is being done, such as "preparing phantom".
        total: how many units there are, with those that were done before.
        unit: what is counted.
        before: how many an earlier run did, which are not among `items`.
        count: how many units an item holds; `len` of chunks.
    """
    if sys.stderr.isatty() and find_spec("tqdm"):  # a plain install has none
        from tqdm import tqdm  # noqa: PLC0415 # it may be missing

        with tqdm(desc=what, total=total, unit=f" {unit}", initial=before) as bar:
            for item in items:
                yield item
                bar.update(count(item))
        return
    started = said = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += count(item)
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            rate = done / (said - started)
            left = timedelta(seconds=round((total - before - done) / rate))
            print(
                f"{what}: {before + done} of {_counted(total, unit)}, "
                f"{said - started:.0f} s, {rate:.1f}/s, {left} left",
                file=sys.stderr,
                flush=True,
            )
    print(f"{what}: {_counted(done, unit)} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


@contextmanager
def steps(what: str, unit: str = "step") -> Iterator[Callable[[], object]]:
    """Lend a function to be called at each step of work of unknown length; how many there were is shown.

    Args:
        what: what is being done, such as "fitting the head".
        unit: what is counted.
    """
    if sys.stderr.isatty() and find_spec("tqdm"):
        from tqdm import tqdm  # noqa: PLC0415 # it may be missing

        with tqdm(desc=what, unit=f" {unit}") as bar:
            yield bar.update
        return
    started = said = time.monotonic()
    done = 0

    def step() -> None:
        nonlocal said, done
        done += 1
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{what}: {_counted(done, unit)}, {said - started:.0f} s", file=sys.stderr, flush=True)

    yield step
    print(f"{what}: {_counted(done, unit)} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _counted(number: int, unit: str) -> str:
    """Return "1 image", "2 images"; a symbol such as "MiB" has no plural."""
    return f"{number} {unit}" + ("" if number == 1 or unit.endswith("B") else "s")
