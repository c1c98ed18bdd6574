"""Compute the digest of all that the pipeline's results depend on: params, code, and batches from outside."""

import hashlib

from chestxray.batch_layout import (
    BOXES,
    OLD_TABLE,
    PHANTOM_ROOT,
    SYNTHETIC_NOTICE,
    TABLE,
    TEST_LIST,
    UNLABELLED_NOTICE,
    UPDATE_ROOT,
)
from chestxray.params import Params
from chestxray.tracking.repository import repository

OUTSIDE = (TABLE, OLD_TABLE, BOXES, TEST_LIST, SYNTHETIC_NOTICE, UNLABELLED_NOTICE)
"""Files of a batch, beside its images, that results depend on."""


def pipeline_state(params: Params) -> str:
    """Return the SHA-256, in hexadecimal, over params, code, and the tables and notices of batches that no stage makes.

    Args:
        params: the whole of `params.yaml`.
    """
    digest = hashlib.sha256(params.model_dump_json(by_alias=True).encode())
    top = repository()
    code = [
        top / "dvc.yaml",
        *(file for folder in ("chestxray", "stages") for file in sorted((top / folder).rglob("*.py"))),
    ]
    # The phantom batches are made by a stage, from params that are in the digest already.
    outside = [top / batch.root for batch in params.batches.values() if batch.root not in (PHANTOM_ROOT, UPDATE_ROOT)]
    for file in (*code, *(root / name for root in outside for name in OUTSIDE)):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
