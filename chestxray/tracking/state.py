"""Compute the digest of all that the pipeline's results depend on: params, code, and batches from outside."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from chestxray.batch_layout import PHANTOM_ROOT, TABLE_SUFFIXES, UPDATE_ROOT
from chestxray.params import BatchParams, Params
from chestxray.tracking.repository import workspace


def pipeline_state(params: Params) -> str:
    """Return the SHA-256, in hexadecimal, over params, code, and the tables and notices of batches that no stage makes.

    Args:
        params: the whole of `params.yaml`.
    """
    digest = hashlib.sha256(params.model_dump_json(by_alias=True).encode())
    top = workspace()
    code = [
        top / "dvc.yaml",
        *(file for folder in ("chestxray", "stages") for file in sorted((top / folder).rglob("*.py"))),
    ]
    for file in (*code, *outside_tables(params)):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def outside_tables(params: Params) -> list[Path]:
    """Return the files, beside images, of batches that no stage makes; one that is named need not be there.

    The phantom batches are made by a stage, from params.
    """
    outside = [batch for batch in params.batches.values() if batch.root not in (PHANTOM_ROOT, UPDATE_ROOT)]
    return [file for batch in outside for file in _tables(workspace() / batch.root, batch)]


def _tables(root: Path, batch: BatchParams) -> Iterator[Path]:
    """Yield the files of a batch, beside its images, that results depend on."""
    if root.is_dir():
        yield from sorted(file for file in root.iterdir() if file.suffix.lower() in TABLE_SUFFIXES)
    yield from (root / name for name in (batch.table, batch.exclude) if name)
