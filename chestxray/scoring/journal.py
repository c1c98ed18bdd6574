"""Keep the rows of a run as they are made, so that a run that was killed goes on where it was.

A folder holds them, a line of JSON each. A line that was cut by the end of the process or of the machine is no JSON,
and is cut off with all behind it; so is the row of a file that has changed since, as a run that was not killed would
have seen one state of it or the other, or whose heatmaps are there no more.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from chestxray.scoring.columns import Row
from chestxray.scoring.inputs import InputFile
from chestxray.system.object_storage import is_address, object_state

ROWS = "rows.jsonl"
State = list[int | str] | None
"""Size in bytes of a file, and when it changed, in nanoseconds: what is in it, and what is said of it, such as who may
read it; size and version of an object in storage; None of what is not there."""


def file_state(path: str) -> State:
    """Return what tells whether a file or an object has changed.

    Raises:
        UserError: the storage of the object can't be used.
    """
    if is_address(path):
        state = object_state(path)
        return state and [*state]
    try:
        status = os.stat(path)  # noqa: PTH116 # a million times
    except (OSError, ValueError):  # a name with a null byte is a ValueError
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class Journal:
    """The rows of a run, in the order of its files; no other process may be at it.

    Args:
        folder: is made; the same for the same run, another one for any other.

    Raises:
        OSError: the folder can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / ROWS).open("a+b")  # closed at the end of the block

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; the rows stay."""
        self._file.close()

    def resume(self, files: Sequence[InputFile], is_whole: Callable[[Row], bool] = lambda _: True) -> int:
        """Return how many rows of an earlier run count; the others are cut off.

        Args:
            files: of the run.
            is_whole: whether what a row names beside the table is still there.
        """
        self._file.seek(0)
        kept = end = 0
        for line, file in zip(self._file, files, strict=False):
            row = _row(line, file)
            if row is None or not is_whole(row):
                break
            kept += 1
            end += len(line)
        self._file.truncate(end)
        return kept

    def append(self, state: State, row: Row) -> None:
        """Keep the next row: from then on it outlives the process.

        Args:
            state: of the file when it was scored, by `file_state`.
            row: of it.
        """
        try:
            self._file.write(json.dumps([state, row]).encode() + b"\n")
            self._file.flush()
        except OSError as error:  # it names no file
            raise OSError(error.errno, error.strerror, str(self.folder)) from error

    def rows(self) -> Iterator[Row]:
        """Yield all rows."""
        self._file.seek(0)
        for line in self._file:
            row: Row = json.loads(line)[1]
            yield row

    def remove(self) -> None:
        """Remove the folder, once its rows are elsewhere."""
        shutil.rmtree(self.folder)


def _row(line: bytes, file: InputFile) -> Row | None:
    """Return the whole row of a file that has not changed since; None if the line is none."""
    try:
        match json.loads(line):
            case [state, [file.given, *values]]:
                return [file.given, *values] if line.endswith(b"\n") and state == file_state(file.path) else None
    except ValueError:
        pass
    return None
