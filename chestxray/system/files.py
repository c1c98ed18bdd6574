"""Write files whole or not at all, and reports as small, readable text."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chestxray.errors import no_room

if TYPE_CHECKING:  # the service writes reports of its own and has no use for pandas
    import pandas as pd

FLOAT_FORMAT = "%.6f"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula, and runs it."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Lend a path beside `path`, which takes the place of `path` when the block ends well and disappears otherwise.

    What a killed run leaves there is hidden from DVC and git, whose folders it may lie in (`.dvcignore`).

    Args:
        path: the file or folder to be, in a folder that is made; what is there is replaced.

    Yields:
        Where to write a file or make a folder; nothing is there, whatever a killed run left.

    Raises:
        OSError: there is no room for it; its file is `path`. `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except Exception as error:
        full = no_room(error, str(path))
        if full is None:
            raise
        raise full from error
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, keys in the order of `value`.

    Raises:
        ValueError: a number is not finite, which JSON can't express.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index as CSV, floats with six decimals."""
    write_text(path, table.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n"))


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Write a table with its index as Parquet, which keeps floats to the bit."""
    with atomic_write(path) as partial:
        table.to_parquet(partial)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, line ends as they are."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
