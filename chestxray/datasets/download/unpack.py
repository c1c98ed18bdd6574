"""Unpack archives of images that may be hostile."""

import re
import shutil
import tarfile
from pathlib import Path
from typing import Self

from chestxray.errors import UserError
from chestxray.tracking.progress import progress

MEMBER = re.compile(r"images/(\d{8}_\d{3}\.png)", re.ASCII)
MAX_MEMBER_BYTES = 16 << 20
MAX_MEMBERS = 20_000
IMAGES_PER_ARCHIVE = 10_000
"""For the progress bar only: the first of NIH's holds 4,999 and the last 7,121."""


class ArchiveError(UserError):
    """An archive holds what it should not, or cannot be read."""


class BoundedMember(tarfile.TarInfo):
    """A member of an archive that is refused by the size in its header.

    That bounds images as well as the long names that tarfile reads into memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header block.

        Raises:
            ArchiveError: it announces more than 16 MiB.
        """
        member = super().frombuf(buf, encoding, errors)
        if member.size > MAX_MEMBER_BYTES:
            raise ArchiveError(f"a member has {member.size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
        return member


def unpack(archive: Path, wanted: frozenset[str], folder: Path) -> frozenset[str]:
    """Move the wanted images of an archive to `folder`, once the whole archive has passed the checks.

    Args:
        archive: a `.tar.gz` file with nothing but regular members `images/00000001_000.png`.
        wanted: names of images, without folder.
        folder: where to put them; on the same disk as the archive.

    Returns:
        The names of all images in the archive.

    Raises:
        ArchiveError: a member of another kind or name, one above 16 MiB, one twice, too many, or a file that is not a
            whole archive. `folder` is as it was.
    """
    staging = archive.with_name("unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    names: set[str] = set()
    try:
        with tarfile.open(archive, "r|gz", tarinfo=BoundedMember) as tar:
            for member in progress(tar, f"unpacking {archive.name}", IMAGES_PER_ARCHIVE):
                if member.isdir() and member.name == "images":
                    continue
                name = _check_member(member, names)
                names.add(name)
                content = tar.extractfile(member)
                if name in wanted and content is not None:
                    (staging / name).write_bytes(content.read())
    except (tarfile.TarError, ArchiveError) as error:
        shutil.rmtree(staging)
        raise ArchiveError(
            f"{archive}: {error}. Nothing of it was kept. Delete it to have it brought again."
        ) from error
    folder.mkdir(exist_ok=True)
    for file in staging.iterdir():
        file.replace(folder / file.name)
    staging.rmdir()
    return frozenset(names)


def _check_member(member: tarfile.TarInfo, names: set[str]) -> str:
    """Check a member against the `names` before it, and return the name of its image."""
    match = MEMBER.fullmatch(member.name)
    shown = ascii(member.name[:100])
    if match is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise ArchiveError(f"expected regular members images/00000001_000.png, given {shown} of type {member.type!r}")
    if member.size > MAX_MEMBER_BYTES:  # an extended header may change the size of the next one
        raise ArchiveError(f"member {shown} has {member.size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
    if match[1] in names:
        raise ArchiveError(f"member {shown} is there twice")
    if len(names) >= MAX_MEMBERS:
        raise ArchiveError(f"more than {MAX_MEMBERS:,} members")
    return match[1]
