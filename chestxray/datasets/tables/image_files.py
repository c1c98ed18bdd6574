"""Find the image files of a batch, and those that its table names, without ever using a name as a path."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chestxray.batch_layout import TABLE_SUFFIXES
from chestxray.datasets.tables.path_ends import NamedPaths
from chestxray.datasets.tables.rejections import Rejection, shown
from chestxray.errors import UserError
from chestxray.system.file_names import HIDDEN, IMAGE_SUFFIXES
from chestxray.system.files import FORMULA

OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:")
"""How an absolute path begins, here or elsewhere."""

NOT_UNIQUE = "image is not unique"
"""The kind of a name that several files have."""


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
        rejected: images whose names can't stand in a table.
        not_followed: how many symbolic links lead out of the batch, or to one of its folders.
    """

    root: Path
    paths: tuple[str, ...]
    images: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    not_followed: int

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
        return (found[0], "") if found else ("", "image missing: no file of the batch has that name")

    @cached_property
    def _by_path(self) -> NamedPaths:
        return NamedPaths.of(self.paths, str)

    @cached_property
    def _by_stem(self) -> NamedPaths:
        return NamedPaths.of(self.images, stem)

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


def find_images(root: Path) -> ImageFiles:
    """Find all files of a batch, in whatever folders; hidden ones are passed over.

    Args:
        root: the batch. No symbolic link is followed out of it.

    Raises:
        UserError: there is no such folder, or no file in it that may be an image.
    """
    check_folder(root)
    files: list[str] = []
    not_followed = 0
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
                elif entry.is_symlink() and not _is_file_inside(real, entry.path):
                    not_followed += 1
                elif entry.is_file():
                    files.append(path)
    found = _index(root, sorted(files), not_followed)
    if not found.paths and not found.rejected:
        raise UserError(f"no image in {root}: put the images there, in any folders")
    return found


def check_folder(root: Path) -> None:
    """Check that there is a folder of a batch; a UserError says what one is."""
    if not root.is_dir():
        raise UserError(f"no such batch folder: {root}. Give the folder that holds a table and the images.")


def is_inside(root: Path, path: Path) -> bool:
    """Return whether a path, all links followed, lies in a folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def check_inside(root: Path, path: Path, what: str) -> None:
    """Check that a file that a person or a layout names is there, and lies in the batch.

    Args:
        root: the batch.
        path: the file.
        what: it is, for the message.

    Raises:
        UserError: it is not there, or leads out of the batch.
    """
    if not path.exists():
        raise UserError(f"{what}: there is no {shown(str(path))}; name a file within {root}")
    if not path.is_file() or not is_inside(root, path):
        raise UserError(f"{what}, {shown(str(path))}: name a file within {root}, not a link that leads out of it")


def _is_file_inside(real_root: str, path: str) -> bool:
    target = os.path.realpath(path)
    return target.startswith(f"{real_root.rstrip('/')}/") and Path(target).is_file()


def _index(root: Path, files: list[str], not_followed: int) -> ImageFiles:
    paths: list[str] = []
    images: list[str] = []
    rejected: list[Rejection] = []
    for path in files:
        name = path.rpartition("/")[2]
        cut = stem(name)
        if name.lower().endswith(TABLE_SUFFIXES):
            continue
        if not path.isprintable() or path.startswith(FORMULA) or name.startswith(FORMULA):
            what = "unsafe file name: it holds control characters or begins with one of = + - @; rename it"
            rejected += [Rejection(name, "", what)] if cut != name else []
            continue
        paths.append(path)
        images += [path] if cut != name else []
    return ImageFiles(root, tuple(paths), tuple(images), tuple(rejected), not_followed)
