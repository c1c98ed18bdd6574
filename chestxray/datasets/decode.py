"""Decode and resize the image files of a batch, whatever its table says of them: the dear half of preparing it."""

import errno
import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import IMAGES
from chestxray.datasets.decoded_files import NO_ROW, UNREADABLE, DecodedFiles
from chestxray.datasets.tables.image_files import find_images
from chestxray.imaging.decode import decode
from chestxray.imaging.quality import pixel_checks
from chestxray.imaging.radiograph import MAX_FILE_BYTES, Check, Radiograph, RadiographError, resize
from chestxray.system.engine import check_missing, engine_map
from chestxray.system.files import atomic_write
from chestxray.system.malloc import keep_image_blocks
from chestxray.system.npy import ArrayFile
from chestxray.system.regular_file import read_regular
from chestxray.tracking.progress import progress

IMAGES_IN_FLIGHT = 256
"""How many images may be in work, or wait for their turn to be written."""
THREADS_PER_CORE = 3
"""Some work while others wait for the process for codecs. See docs/decisions/thread-pool.md."""
NOT_FOUND = f"{UNREADABLE}: {os.strerror(errno.ENOENT)}"
VIEW_CHECKS = frozenset({"view-position", "patient-orientation"})
"""Of a DICOM header; what they refuse is a radiograph all the same."""

Pixels = npt.NDArray[np.uint8]
Fact = tuple[str, int, str, str, str, int, int, bool]


def decode_batch(root: Path, out: Path, size: int, follow_links: bool = False) -> DecodedFiles:
    """Decode a batch into `out`: `images.npy`, `files.parquet`, `refused.parquet`.

    All cores decode; memory does not grow with the batch. `out` appears whole or not at all.

    Args:
        root: the batch.
        out: the folder to make; its name is the name of the batch.
        size: side of the prepared images in pixels.
        follow_links: whether links to files may lead out of the batch.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    with atomic_write(out) as folder:
        folder.mkdir()
        with ArrayFile(folder / IMAGES, (size, size), np.uint8) as array:
            decoded = decode_files(root, out.name, size, lambda pixels: array.append(pixels[None]), follow_links)
        decoded.write(folder)
    return decoded


def decode_files(
    root: Path, name: str, size: int, keep: Callable[[Pixels], None], follow_links: bool = False
) -> DecodedFiles:
    """Decode all files of a batch that may be images, with all cores.

    Args:
        root: the batch.
        name: of the batch, for a person to read.
        size: side of the prepared images in pixels.
        keep: is called with the prepared pixels of each row in turn, `(size, size)` uint8.
        follow_links: whether links to files may lead out of the batch.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    found = find_images(root, follow_links)
    facts: list[Fact] = []
    refused: list[tuple[str, str, float | None, float | None]] = []
    rows: dict[str, int] = {}
    keep_image_blocks()
    paths = (root / path for path in found.paths)
    decoded = engine_map(partial(_decode, size=size), paths, IMAGES_IN_FLIGHT, THREADS_PER_CORE)
    for path, result in progress(zip(found.paths, decoded, strict=True), f"decoding {name}", len(found.paths)):
        if isinstance(result, str):
            if result == NOT_FOUND:
                check_missing(str(root / path))
            facts.append((path, NO_ROW, result, "", "", 0, 0, False))
            continue
        if result.content_hash not in rows:
            rows[result.content_hash] = len(rows)
            keep(result.pixels)
        row = rows[result.content_hash]
        size_and_turn = (result.width, result.height, result.turned)
        facts.append((path, row, "", result.not_frontal, result.content_hash, *size_and_turn))
        refused += [(path, check.name, check.value, check.limit) for check in result.refused]
    columns = ["path", "row", "reason", "not_frontal", "content_hash", "width", "height", "turned"]
    types = {"path": "str", "check": "str", "value": "float64", "limit": "float64"}
    return DecodedFiles(
        pd.DataFrame(facts, columns=columns),
        pd.DataFrame(refused, columns=list(types)).astype(types),
    )


class _Decoded(NamedTuple):
    """An image, and facts of its file."""

    pixels: Pixels
    content_hash: str
    width: int
    height: int
    turned: bool
    not_frontal: str
    refused: tuple[Check, ...]


def _decode(path: Path, size: int) -> _Decoded | str:
    """Decode and prepare an image, or return the reason why it can't be done."""
    try:
        radiograph = decode(read_regular(path, MAX_FILE_BYTES))
    except (RadiographError, OSError) as error:
        return f"{UNREADABLE}: {error.strerror if isinstance(error, OSError) else error}"
    not_frontal, another_thing = _header_refusals(radiograph)
    if another_thing:
        return f"no chest radiograph: {another_thing}"
    pixels = radiograph.pixels
    height, width = pixels.shape
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    refused = tuple(check for check in pixel_checks(radiograph, size) if check.verdict == "refused")
    return _Decoded(resize(pixels, size), digest.hexdigest(), width, height, radiograph.turned, not_frontal, refused)


def _header_refusals(radiograph: Radiograph) -> tuple[str, str]:
    """Return what the header says of another view, and why by header or colours it is no chest; each may be empty."""
    views: list[str] = []
    others: list[str] = []
    for check in radiograph.checks:
        if check.verdict == "refused":
            (views if check.name in VIEW_CHECKS else others).append(check.message)
    return (views or [""])[0], (others or [""])[0]
