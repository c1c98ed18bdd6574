"""Write small batches whose tables have the shapes that people hold."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from chestxray.datasets.batch import Batch, read_batch
from chestxray.findings import NIH_VOCABULARY, Vocabulary
from chestxray.params import ReadingParams, Views

Rows = Sequence[Sequence[object]]


def text(header: Sequence[str], rows: Rows, separator: str = ",") -> str:
    """A table as text."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator).writerows([header, *rows])
    return stream.getvalue()


def write(root: Path, table: str, content: str | bytes, images: Sequence[str]) -> Path:
    """Write a batch of empty image files, by their paths."""
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    root.mkdir(exist_ok=True)
    (root / table).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(root: Path, vocabulary: Vocabulary = NIH_VOCABULARY, views: Views = "frontal", **reading: object) -> Batch:
    return read_batch(root, vocabulary, ReadingParams.model_validate(reading), views)


def labels(batch: Batch, finding: str) -> dict[str, int]:
    """The label of each image."""
    return dict(zip(batch.studies["image"], batch.studies[finding].tolist(), strict=True))
