"""Find the files to score: those that are named, those of folders and patterns, and those that a table lists."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from glob import has_magic
from itertools import chain
from pathlib import Path
from typing import NamedTuple, overload

from chestxray.errors import UserError
from chestxray.imaging.decode import STILLS
from chestxray.imaging.dicom.recognition import first_element
from chestxray.system.file_names import HIDDEN, IMAGE_SUFFIXES
from chestxray.system.object_storage import is_address, list_objects, read_object
from chestxray.system.parallel import parallel_map
from chestxray.system.regular_file import read_regular

INDEX = "DICOMDIR"
"""The table of contents of a DICOM medium, itself a DICOM file."""
HEAD = 4096
"""Bytes by which a file is recognised."""
PEEKED = 1024
"""Files whose first bytes may be read ahead."""


class InputFile(NamedTuple):
    """A file to score.

    Attributes:
        place: its place among all, from 0 on.
        given: what it is called in the table of scores.
        path: where it is: a path, or an address of object storage.
    """

    place: int
    given: str
    path: str

    def read(self, limit: int) -> bytes:
        """Read it.

        Raises:
            OSError: it can't be read, or has more bytes than `limit` (EFBIG).
            UserError: its storage can't be used at this time.
        """
        return _read(self.path, limit)


class InputFiles(Sequence[InputFile]):
    """The names of files in one block of memory: as Python objects they would take 0.3 kB each."""

    def __init__(self) -> None:
        self._names = bytearray()
        self._ends = array("Q")

    def append(self, given: str, path: str) -> None:
        """Add a file by what it is called and where it is."""
        for name in (given, path if path != given else ""):
            self._names += name.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._names))

    def __len__(self) -> int:
        """Count them."""
        return len(self._ends) // 2

    @overload
    def __getitem__(self, place: int) -> InputFile: ...
    @overload
    def __getitem__(self, place: slice) -> list[InputFile]: ...
    def __getitem__(self, place: int | slice) -> InputFile | list[InputFile]:
        """Return the file at a place, or those at several."""
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        place = range(len(self))[place]
        start = self._ends[2 * place - 1] if place else 0
        middle, end = self._ends[2 * place : 2 * place + 2]
        given, path = (
            self._names[part].decode("utf-8", "surrogatepass") for part in (slice(start, middle), slice(middle, end))
        )
        return InputFile(place, given, path or given)


@dataclass
class Inputs:
    """The files to score, in an order that depends on their names alone.

    Attributes:
        files: all of them.
        missing: what was named and is not there.
        skipped: how many files of folders were passed over, by reason.
    """

    files: InputFiles = field(default_factory=InputFiles)
    missing: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, named: Iterable[tuple[str, str]]) -> None:
        """Add files by what they are called and where they are."""
        for given, path in named:
            self.files.append(given, path)


def find_inputs(paths: Sequence[str], tables: Sequence[str] = (), excluded: str | None = None) -> Inputs:
    """Find what arguments mean, argument by argument.

    Args:
        paths: files; folders, with all below them; patterns such as `*/*.png`, where `**` is any number of folders. A
            name that exists is meant literally. Addresses of object storage name the same.
        tables: `FILE:COLUMN`, a column of paths, which are relative to the folder of the file, or of addresses.
        excluded: a folder that is not searched, such as that of heatmaps, and in which no pattern matches.

    Raises:
        UserError: a table has no such column or can't be read; a pattern is none; the excluded folder is searched; a
            storage can't be used.
        OSError: a folder can't be read.
    """
    inputs = Inputs()
    real = excluded and os.path.realpath(excluded)
    for path in paths:
        if is_address(path):
            found = list_objects(path)
            inputs.missing += [] if found else [path]
            wanted = found if found == [path] else _images_below(path, found, inputs.skipped)
            inputs.add(zip(wanted, wanted, strict=True))
            continue
        if os.path.lexists(path):
            named = [path]
        else:
            named = [name for name in _matches(path) if not _is_within(name, real)] if has_magic(path) else []
            inputs.missing += [] if named else [path]
            named = _outermost(named, inputs.skipped)
        files = (_search(name, inputs.skipped, real) if Path(name).is_dir() else [name] for name in named)
        found = sorted(chain.from_iterable(files))
        inputs.add(zip(found, found, strict=True))
    for table in tables:
        inputs.add(_listed(table, inputs.skipped))
    return inputs


def _matches(pattern: str) -> list[str]:
    """Return the files and folders that match a pattern, sorted; hidden ones only if it has their dot.

    Unlike that of the module `glob`, the `**` of a path follows no links, which may lead in circles.

    Raises:
        UserError: a `**` that is not a whole name.
    """
    path = Path(pattern)
    dotted = [part for part in path.parts if part.startswith(".")]

    def hidden(part: str) -> bool:
        return part.startswith(HIDDEN) and not any(fnmatch(part, allowed) for allowed in dotted)

    try:
        found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        return sorted(str(each) for each in found if not any(map(hidden, each.parts)))
    except ValueError as error:
        raise UserError(f"{pattern!a} is no pattern: {error}") from None


def _outermost(matches: Sequence[str], skipped: Counter[str]) -> list[str]:
    """Return what matches a pattern without links to folders, and without what lies in a folder that matches too."""
    folders = {name for name in matches if Path(name).is_dir()}
    links = {name for name in folders if Path(name).is_symlink()}
    skipped.update(["link to a folder"] * len(links))
    inside = folders - links
    return [name for name in matches if name not in links and inside.isdisjoint(map(str, Path(name).parents))]


def _is_within(path: str, folder: str | None) -> bool:
    return folder is not None and f"{os.path.realpath(path)}/".startswith(f"{folder}/")


def _search(root: str, skipped: Counter[str], excluded: str | None) -> list[str]:
    """Return what may be an image in a folder and all below it, sorted, but for what is below another one."""
    if os.path.realpath(root) == excluded:
        raise UserError(f"--heatmaps: {root!a} is searched for files to predict; name a folder of its own")
    taken: list[str] = []
    doubtful: list[str] = []
    folders = [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.name.startswith(HIDDEN):
                skipped["hidden"] += 1
            elif entry.is_dir(follow_symlinks=False):
                if excluded is None or os.path.realpath(entry.path) != excluded:
                    folders.append(entry.path)
            elif reason := _unwanted(entry):
                skipped[reason] += 1
            elif entry.name.lower().endswith(
                IMAGE_SUFFIXES
            ):  # whatever is in it; others are taken by their first bytes
                taken.append(entry.path)
            else:
                doubtful.append(entry.path)
    return sorted([*taken, *_recognised(doubtful, skipped)])


def _images_below(root: str, addresses: Iterable[str], skipped: Counter[str]) -> list[str]:
    """Return which of the objects of a folder or a pattern may be images, by the same rules as files, sorted."""
    taken: list[str] = []
    doubtful: list[str] = []
    start = len(re.split(r"[*?[]", root)[0].rstrip("/"))
    for address in addresses:
        name = address.rpartition("/")[2]
        if any(part.startswith(HIDDEN) for part in address[start:].split("/")):
            skipped["hidden"] += 1
        elif name.upper() == INDEX:
            skipped["no image"] += 1
        elif name.lower().endswith(IMAGE_SUFFIXES):
            taken.append(address)
        else:
            doubtful.append(address)
    return sorted([*taken, *_recognised(doubtful, skipped)])


def _recognised(paths: Sequence[str], skipped: Counter[str]) -> Iterator[str]:
    """Yield which files begin as images do; count the others."""
    for path, image in zip(paths, parallel_map(_begins_as_image, paths, PEEKED, threads_per_core=4), strict=True):
        if image:
            yield path
        else:
            skipped["no image"] += 1


def _unwanted(entry: "os.DirEntry[str]") -> str:
    """Return why something in a folder is passed over by its kind or its name; empty for what is to be looked at."""
    try:
        if entry.is_dir():
            return "link to a folder"
        if not entry.is_file() and Path(entry.path).exists():
            return "no regular file"
    except OSError:  # links in a circle: its row says so
        return ""
    return "no image" if entry.name.upper() == INDEX else ""


def _begins_as_image(path: str) -> bool:
    """Return whether a file begins as the formats that are decoded do; also if it can't be read, which its row says."""
    try:
        head = _read(path, HEAD, whole=False)
    except OSError:
        return True
    return head.startswith(tuple(STILLS)) or first_element(head) is not None


def _read(path: str, limit: int, *, whole: bool = True) -> bytes:
    return (read_object if is_address(path) else read_regular)(path, limit, whole=whole)


def _listed(argument: str, skipped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield the paths in a column of a table, as they stand there and as they are opened; empty cells are skipped.

    Addresses of object storage are opened as they stand there.

    Raises:
        UserError: no such file or column, or a row has another number of fields.
    """
    from chestxray.datasets.tables.text_table import read_headers, read_rows  # noqa: PLC0415 # needs pandas

    file, colon, column = argument.rpartition(":")
    if not (file and colon and column):
        raise UserError("--csv: expected FILE:COLUMN, such as studies.csv:path")
    headers = [header for header in read_headers(Path(file)) if column in header.names]
    if not headers:
        names = ", ".join(ascii(name) for name in read_headers(Path(file))[0].names[:20])
        raise UserError(f"--csv: {file} has no column {column!a}; it has {names or 'no first line with names'}")
    if headers[0].names.count(column) > 1:
        raise UserError(f"--csv: {file} has several columns {column!a}; give them different names")
    width, place = len(headers[0].names), headers[0].names.index(column)
    folder = os.path.dirname(file)  # noqa: PTH120 # ./ stays
    for number, fields in read_rows(headers[0]):
        if len(fields) != width:
            raise UserError(f"--csv: {file}, row {number}: {len(fields)} fields, the header has {width}")
        cell = fields[place]
        bare = cell.strip()
        if is_address(bare):
            yield bare, bare
        elif bare:  # a name may have spaces around it; where there is none such, they are the table's
            name = cell if os.path.lexists(os.path.join(folder, cell)) else bare  # noqa: PTH118 # as above
            yield name, os.path.join(folder, name)  # noqa: PTH118 # as above
        else:
            skipped["empty cell"] += 1
