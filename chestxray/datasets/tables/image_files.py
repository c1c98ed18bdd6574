"""Find the image files of a batch, and those that its table names, without ever using a name as a path."""

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chestxray.batch_layout import TABLE_SUFFIXES
from chestxray.datasets.tables.rejections import Rejection, shown
from chestxray.errors import UserError
from chestxray.system.file_names import HIDDEN, IMAGE_SUFFIXES
from chestxray.system.files import FORMULA

OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:")
"""How an absolute path begins, here or elsewhere."""


def key(name: str) -> str:
    """Return a name for comparison: case and the composition of letters make no difference."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


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
        by_name: `paths` by the key of their file's name.
        by_stem: those of images by the key of their file's name without suffix.
    """

    root: Path
    paths: tuple[str, ...]
    images: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    not_followed: int
    by_name: dict[str, list[str]]
    by_stem: dict[str, list[str]]

    def find(self, name: str) -> tuple[str, str]:
        """Look up what a table calls an image.

        A file is meant when the name is its path, or the end of its path and of no other's, with the suffix or, where
        the name has none, without; or when its whole path is the end of the name. Case makes no difference unless two
        files differ in it.

        Returns:
            The path and an empty text, or an empty path and the reason.
        """
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        if not parts:
            return "", "no image name: the cell is empty; fill it in"
        if ".." in parts or OUTSIDE.match(name):
            return "", "image name leads out of the batch: give it relative to the batch's folder"
        wanted = "/".join(parts)
        last = key(parts[-1])
        found = _ending_in(wanted, self.by_name.get(last, [])) or _ending_in(wanted, self.by_stem.get(last, []), stem)
        if len(found) > 1:
            listed = " and ".join(shown(path) for path in found[:2])
            return "", f"image is not unique: {listed} have that name; give its folder, or take one out"
        return (found[0], "") if found else ("", "image missing: no file of the batch has that name")


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
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
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
        by_name.setdefault(key(name), []).append(path)
        if cut != name:
            images.append(path)
            by_stem.setdefault(key(cut), []).append(path)
    return ImageFiles(root, tuple(paths), tuple(images), tuple(rejected), not_followed, by_name, by_stem)


def _ending_in(wanted: str, paths: list[str], form: Callable[[str], str] = str) -> list[str]:
    """Return the paths, each in a form, that end in a name; where none does, the longest that the name ends in."""
    if len(paths) == 1 and "/" not in wanted:
        return paths
    folded = key(wanted)
    ending = [path for path in paths if f"/{key(form(path))}".endswith(f"/{folded}")]
    for better in (
        [path for path in ending if form(path) == wanted],
        [path for path in ending if f"/{form(path)}".endswith(f"/{wanted}")],
        [path for path in ending if key(form(path)) == folded],
    ):
        if len(better) == 1:
            return better
    inside = [path for path in paths if folded.endswith(f"/{key(form(path))}")]
    return ending or sorted(inside, key=len)[-1:]
