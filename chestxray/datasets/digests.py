"""Digest the files of the listed batches, for stages that depend on these batches and on no others that lie there."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from chestxray.datasets.dataset import DATA, BatchFolders
from chestxray.errors import UserError
from chestxray.system.parallel import parallel_map

Digested = Literal["prepared", "features"]
DIGESTED: tuple[Digested, ...] = get_args(Digested)
FILES_IN_FLIGHT = 8


def batch_digests(what: Digested, batches: Iterable[str], data: Path = DATA) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each file of each batch, by its path within `data`.

    Args:
        what: "prepared" is studies, boxes and decoded images; "features" is features, and of which images they are.
        batches: their names; they come in this order.
        data: where the stages put them.

    Raises:
        UserError: a batch is not there.
    """
    return {batch: _digests(_files(what, BatchFolders(batch, data)), data) for batch in batches}


def _files(what: Digested, folders: BatchFolders) -> list[Path]:
    places = {"prepared": (folders.decoded, folders.prepared), "features": (folders.features, folders.split_file)}[what]
    for place in places:
        if not place.exists():
            raise UserError(f"batch {folders.name} has no {place}: run dvc repro")
    return [file for place in places for file in (sorted(place.iterdir()) if place.is_dir() else [place])]


def _digests(files: list[Path], data: Path) -> dict[str, str]:
    digests = parallel_map(_sha256, files, FILES_IN_FLIGHT)
    return {file.relative_to(data).as_posix(): digest for file, digest in zip(files, digests, strict=True)}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
