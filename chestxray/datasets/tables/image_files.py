"""Find the image files of a batch, and those that its table names, without ever using a name as a path."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chestxray.batch_layout import TABLE_SUFFIXES
from chestxray.datasets.tables.path_ends import NamedPaths
from chestxray.datasets.tables.rejections import shown
from chestxray.errors import UserError
from chestxray.system.file_names import HIDDEN, IMAGE_SUFFIXES
from chestxray.system.files import FORMULA

OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:")
"""How an absolute path begins, here or elsewhere."""

NOT_UNIQUE = "image is not unique"
"""The kind of a name that several files have."""
FOLLOW = "batches.<name>.follow_links: true (--follow-links)"
"""What lets links lead out of a batch."""
OUT = f"link out of the batch: put the file itself there, or say {FOLLOW}"
FOLDER = "link to a folder outside of the batch: no such link is followed; put the folder itself there"
NOWHERE = "link to nothing: take it out, or put the file there"
IRREGULAR = "no regular file: a pipe, a socket or a device; take it out"
UNSAFE = "unsafe file name: it holds control characters or begins with one of = + - @; rename it"


def stem(path: str) -> str:
    """Return a path without the suffix of an image; other suffixes, as in `1.2.840`, are part of the name."""
    cut, dot, suffix = path.rpartition(".")
    return cut if f"{dot}{suffix}".lower() in IMAGE_SUFFIXES and not cut.endswith(("/", "\\")) else path


@dataclass(frozen=True)
class ImageFiles:
    """The files of a batch that may be images.

    Attributes:
        root: the batch; every path is relative to it.
        paths: all that may be images, sorted: those with the suffix of one, and those with none or an unknown one.
        images: those with the suffix of an image, sorted.
        unusable: why other paths can't be read: links that lead out of the batch or to nothing, what is no regular
            file, names that can't stand in a table.
    """

    root: Path
    paths: tuple[str, ...]
    images: tuple[str, ...]
    unusable: Mapping[str, str]

    def find(self, name: str) -> tuple[str, str]:
        """Look up what a table calls an image.

        A file is meant when the name is its path, or the end of its path and of no other's, with the suffix or, where
        the name has none, without. Where no path ends so, the name may begin with folders that the batch has not, if
        its end is a whole path of a file in a folder. Case makes no difference unless two files differ in it.

        Returns:
            The path and an empty text, or an empty path and the reason.
        """
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        if not parts:
            return "", "no image name: the cell is empty; fill it in"
        if ".." in parts or OUTSIDE.match(name):
            return "", "image name leads out of the batch: give it relative to the batch's folder"
        found = self._named("/".join(parts)) or self._below(parts)
        if len(found) > 1:
            listed = " and ".join(shown(path) for path in found[:2])
            return "", f"{NOT_UNIQUE}: {listed} have that name; give its folder, or take one out"
        return (found[0], "") if found else ("", self._why_not(parts))

    def _why_not(self, parts: list[str]) -> str:
        """Return why there is no image of a name."""
        found = self._unusable.named("/".join(parts))
        return self.unusable[found[0]] if found else "image missing: no file of the batch has that name"

    @cached_property
    def _by_path(self) -> NamedPaths:
        return NamedPaths.of(self.paths, str)

    @cached_property
    def _by_stem(self) -> NamedPaths:
        return NamedPaths.of(self.images, stem)

    @cached_property
    def _unusable(self) -> NamedPaths:
        return NamedPaths.of(self.unusable, str)

    def _named(self, name: str) -> list[str]:
        """Return the file whose path ends in a name; two where it is not clear."""
        found = self._by_path.named(name)
        if found and (found == [name] or stem(name) != name):
            return found
        return [*found, *self._by_stem.named(name)]

    def _below(self, parts: list[str]) -> list[str]:
        """Return the file in a folder whose whole path ends a name, the longest such; two where it is not clear."""
        for start in range(max(1, len(parts) - self._depth), len(parts) - 1):
            end = "/".join(parts[start:])
            if found := [*self._by_path.whole(end), *self._by_stem.whole(end)]:
                return found
        return []

    @cached_property
    def _depth(self) -> int:
        return max((path.count("/") + 1 for path in self.paths), default=0)


def find_images(root: Path, follow_links: bool = False) -> ImageFiles:
    """Find all files of a batch, in whatever folders; hidden ones are passed over.

    Args:
        root: the batch. No link to a folder is followed: one within the batch leads to what is found there.
        follow_links: whether links to files may lead out of it.

    Raises:
        UserError: there is no such folder, or no file in it that may be an image.
    """
    check_folder(root)
    files: list[str] = []
    unusable: dict[str, str] = {}
    real = os.path.realpath(root)
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}{entry.name}"
                if entry.name.startswith(HIDDEN):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                elif fault := _fault(entry, real, follow_links):
                    unusable[path] = fault
                elif not entry.is_dir():
                    files.append(path)
    found = _index(root, sorted(files), unusable)
    if not found.paths and not found.unusable:
        raise UserError(f"no image in {root}: put the images there, in any folders")
    return found


def _fault(entry: "os.DirEntry[str]", real_root: str, follow_links: bool) -> str:
    """Return why something in a batch that is no folder can't be read, empty where it can."""
    inside = not entry.is_symlink() or _is_below(os.path.realpath(entry.path), real_root)
    try:
        if entry.is_dir():
            return "" if inside else FOLDER
        regular = entry.is_file()
    except OSError:  # links in a circle
        return NOWHERE
    if regular:
        return "" if inside or follow_links else OUT
    return IRREGULAR if Path(entry.path).exists() else NOWHERE


def check_folder(root: Path) -> None:
    """Check that there is a folder of a batch; a UserError says what one is."""
    if not root.is_dir():
        raise UserError(f"no such batch folder: {root}. Give the folder that holds a table and the images.")


def is_inside(root: Path, path: Path, follow_links: bool = False) -> bool:
    """Return whether a path, all links followed, lies in a folder, or need not."""
    return follow_links or _is_below(os.path.realpath(path), os.path.realpath(root))


def check_inside(root: Path, path: Path, what: str, follow_links: bool = False) -> None:
    """Check that a file that a person or a layout names is there, and lies in the batch.

    Args:
        root: the batch.
        path: the file.
        what: it is, for the message.
        follow_links: whether it may be a link that leads out of the batch.

    Raises:
        UserError: it is not there, is no regular file, or leads out of the batch.
    """
    if not path.exists():
        raise UserError(f"{what}: there is no {shown(str(path))}; name a file within {root}")
    if not path.is_file():
        raise UserError(f"{what}, {shown(str(path))}, is no regular file; name a file within {root}")
    if not _is_below(os.path.abspath(path), os.path.abspath(root)):  # noqa: PTH100 # without following links
        raise UserError(f"{what}, {shown(str(path))}: name a file within {root}")
    if not is_inside(root, path, follow_links):
        raise UserError(
            f"{what}, {shown(str(path))}, is a link out of {root}: put the file itself there, or say {FOLLOW}"
        )


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _index(root: Path, files: list[str], unusable: dict[str, str]) -> ImageFiles:
    paths: list[str] = []
    images: list[str] = []
    for path in files:
        name = path.rpartition("/")[2]
        is_image = stem(name) != name
        if name.lower().endswith(TABLE_SUFFIXES):
            continue
        if path.isprintable() and not path.startswith(FORMULA) and not name.startswith(FORMULA):
            paths.append(path)
            images += [path] * is_image
        elif is_image:
            unusable[path] = UNSAFE
    return ImageFiles(root, tuple(paths), tuple(images), unusable)
