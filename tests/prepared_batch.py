"""Decode and prepare batches, for tests."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.dataset import BatchFolders
from chestxray.datasets.decode import decode_batch
from chestxray.datasets.prepare import prepare_batch
from chestxray.findings import NIH_VOCABULARY, Vocabulary
from chestxray.params import PrepareParams


def prepare(
    root: Path, folders: BatchFolders, params: PrepareParams, vocabulary: Vocabulary = NIH_VOCABULARY
) -> pd.DataFrame:
    """Do what the stages decode and prepare do; returns what was rejected."""
    decode_batch(root, folders.decoded, params.size)
    return prepare_batch(root, folders, params, vocabulary)
