"""Prepare a batch: decode and resize every image, and assign every patient to a split."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.batch import AS_SAID, Batch, read_batch
from chestxray.datasets.dataset import BOXES, IMAGES, REFUSED, REJECTED, write_studies
from chestxray.datasets.description import describe_reading
from chestxray.datasets.split import check_split, patient_split
from chestxray.datasets.tables.rejections import NOT_FRONTAL, count_reasons
from chestxray.errors import UserError
from chestxray.findings import NIH_VOCABULARY, Vocabulary
from chestxray.imaging.decode import decode
from chestxray.imaging.quality import pixel_checks
from chestxray.imaging.radiograph import Check, Radiograph, RadiographError, resize
from chestxray.params import PrepareParams, ReadingParams, Views
from chestxray.system.files import atomic_write
from chestxray.system.malloc import set_heap
from chestxray.system.npy import ArrayFile
from chestxray.system.parallel import parallel_map
from chestxray.tracking.progress import progress

MAX_FILE_BYTES = 100_000_000
IMAGES_IN_FLIGHT = 256
"""How many images may be in work, or wait for their turn to be written."""
THREADS_PER_CORE = 3
"""Some work while others wait for the process for codecs. See docs/decisions/thread-pool.md."""
VIEW_CHECKS = frozenset({"view-position", "patient-orientation"})
"""Of a DICOM header; what they refuse is no damage of a batch."""
KINDS_SHOWN = 5
"""How many kinds of fault a refusal lists."""
MOST = 0.5
"""Of a batch; where more is at fault it was not understood, and a higher limit would hide that."""
KEPT_BLOCK = 30_000_000
"""Bytes; freed blocks up to this size are kept for the next image. See docs/decisions/thread-pool.md."""

Pixels = npt.NDArray[np.uint8]


class BatchError(UserError):
    """Too much of a batch is unusable; the message says how much and why.

    Attributes:
        rejected: what was rejected, as `prepare_batch` returns it.
    """

    def __init__(self, message: str, rejected: pd.DataFrame) -> None:
        super().__init__(message)
        self.rejected = rejected


def prepare_batch(
    root: Path,
    out: Path,
    params: PrepareParams,
    reading: ReadingParams = AS_SAID,
    vocabulary: Vocabulary = NIH_VOCABULARY,
) -> pd.DataFrame:
    """Decode a batch into `out`: `images.npy`, `studies.parquet`, `boxes.parquet`, `refused.csv`, `rejected.csv`.

    All cores decode; memory does not grow with the batch. `out` appears whole or not at all.

    Args:
        root: the batch.
        out: the folder to make; its name is the name of the batch.
        params: size of the images, which views, split, how much may be rejected.
        reading: what a person says of the table.
        vocabulary: the findings, and by what names tables call them.

    Returns:
        What was rejected: `batch`, `image`, `where`, `reason`.

    Raises:
        UserError: the folder can't be read as a batch at all.
        BatchError: more than `params.max_rejected` of the batch was rejected, or nothing is left. Its `rejected`
            attribute holds the table.
        SplitError: a patient or an identical image is in two splits.
    """
    batch = read_batch(root, reading, vocabulary, params.views)
    print(*describe_reading(batch), sep="\n", flush=True)
    with atomic_write(out) as folder:
        folder.mkdir()
        with ArrayFile(folder / IMAGES, (params.size, params.size), np.uint8) as array:
            studies, refused, rejected = examine_batch(
                batch, out.name, params, lambda pixels: array.append(pixels[None])
            )
        write_studies(studies, folder)
        _scale_boxes(batch.boxes, studies, params.size).to_parquet(folder / BOXES, index=False)
        refused.to_csv(folder / REFUSED, index=False)
        rejected = pd.concat([rejected, batch.left_out.assign(batch=out.name)], ignore_index=True)
        rejected.to_csv(folder / REJECTED, index=False)
    return rejected


class Examined(NamedTuple):
    """What decoding all images of a batch brought.

    Attributes:
        studies: with `split`, `content_hash`, `width`, `height` and `synthetic`.
        refused: `image`, `check`, `value`, `limit` of the studies that the service would refuse by their pixels.
        rejected: `batch`, `image`, `where`, `reason`; those that are not frontal by their DICOM header among them.
    """

    studies: pd.DataFrame
    refused: pd.DataFrame
    rejected: pd.DataFrame


def examine_batch(batch: Batch, name: str, params: PrepareParams, keep: Callable[[Pixels], None]) -> Examined:
    """Decode a batch with all cores and return what is in it; of identical images the first one counts.

    Args:
        batch: as read.
        name: of the batch.
        params: as for `prepare_batch`.
        keep: is called with the prepared pixels of each study in turn, `(size, size)` uint8.

    Raises:
        BatchError, SplitError: as `prepare_batch` does.
    """
    decoded, refused, unreadable = _decode_all(batch, params, name, keep)
    studies = batch.studies.merge(decoded, on="image", validate="one_to_one")
    splits = {p: patient_split(p, params, batch.official_test) for p in studies["patient"].unique()}
    studies.insert(5, "split", studies["patient"].map(splits))
    studies["synthetic"] = batch.synthetic
    check_split(studies)
    again = studies.pop("identical_to")
    identical = studies.loc[again != "", ["image"]].assign(
        reason="identical image: the same pixels as " + again[again != ""]
    )
    studies = studies[again == ""]
    files = pd.concat([unreadable, identical], ignore_index=True)
    files.insert(1, "where", [str(batch.paths[image].relative_to(batch.root)) for image in files["image"]])
    rejected = pd.concat([batch.rejected, files], ignore_index=True).sort_values(["image", "reason"])
    rejected.insert(0, "batch", name)
    damaged = rejected[~rejected["reason"].str.startswith(NOT_FRONTAL)]
    _check_rejected(damaged if len(studies) else rejected, len(studies), params.max_rejected)
    return Examined(studies.reset_index(drop=True), refused[refused["image"].isin(studies["image"])], rejected)


def _decode_all(
    batch: Batch, params: PrepareParams, name: str, keep: Callable[[Pixels], None]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Decode the images and keep them in the order of the table, of identical ones the first.

    Returns:
        `image`, `content_hash`, `width`, `height` and `identical_to` (an earlier image, or empty) of those that can be
        decoded; what the service would refuse of them, as in `Examined`; `image` and `reason` of the others.
    """
    accepted: list[tuple[str, str, int, int, str]] = []
    first: dict[str, str] = {}
    refused: list[tuple[str, str, float | None, float | None]] = []
    rejected: list[tuple[str, str]] = []
    images: Sequence[str] = batch.studies["image"].tolist()
    set_heap(kept_block=KEPT_BLOCK, kept_end=2 * KEPT_BLOCK)
    paths = map(batch.paths.__getitem__, images)
    decoded = parallel_map(partial(_decode, params=params), paths, IMAGES_IN_FLIGHT, THREADS_PER_CORE)
    for image, result in progress(zip(images, decoded, strict=True), f"decoding {name}", len(images)):
        if isinstance(result, str):
            rejected.append((image, result))
        else:
            identical_to = first.get(result.content_hash, "")
            accepted.append((image, result.content_hash, result.width, result.height, identical_to))
            refused += [(image, check.name, check.value, check.limit) for check in result.refused]
            if not identical_to:
                first[result.content_hash] = image
                keep(result.pixels)
    facts = pd.DataFrame(accepted, columns=["image", "content_hash", "width", "height", "identical_to"])
    return (
        facts.astype({"image": "str", "identical_to": "str"}),
        pd.DataFrame(refused, columns=["image", "check", "value", "limit"]),
        pd.DataFrame(rejected, columns=["image", "reason"]),
    )


class _Decoded(NamedTuple):
    """An image, and facts of its file."""

    pixels: Pixels
    content_hash: str
    width: int
    height: int
    refused: tuple[Check, ...]


def _decode(path: Path, params: PrepareParams) -> _Decoded | str:
    """Decode and prepare an image, or return the reason why it can't be done."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return f"file larger than {MAX_FILE_BYTES:,} bytes"
        radiograph = decode(path.read_bytes())
    except (RadiographError, OSError) as error:
        return f"unreadable image: {error.strerror if isinstance(error, OSError) else error}"
    if unwanted := _unwanted(radiograph, params.views):
        return unwanted
    pixels = radiograph.pixels
    height, width = pixels.shape
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    refused = tuple(check for check in pixel_checks(radiograph, params.size) if check.verdict == "refused")
    return _Decoded(resize(pixels, params.size), digest.hexdigest(), width, height, refused)


def _unwanted(radiograph: Radiograph, views: Views) -> str:
    """Return why a batch leaves out an image that its header or its colours refuse; empty if it does not."""
    for check in radiograph.checks:
        if check.verdict == "refused" and check.name not in VIEW_CHECKS:
            return f"no chest radiograph: {check.message}"
        if check.verdict == "refused" and views == "frontal":
            return f"{NOT_FRONTAL}: {check.message} prepare.views: all takes every view."
    return ""


def _check_rejected(rejected: pd.DataFrame, accepted: int, max_rejected: float) -> None:
    total = accepted + len(rejected)
    if accepted and len(rejected) <= max_rejected * total:
        return
    reasons = "; ".join(count_reasons(rejected, KINDS_SHOWN)) or "it has no studies"
    limit = f", more than prepare.max_rejected ({max_rejected:.1%})" if accepted else ": nothing is left"
    mend = "Mend the batch, or list images to leave out in a file that batches.<name>.exclude (--exclude) names"
    if len(rejected) <= MOST * total:
        mend += ", or raise prepare.max_rejected"
    raise BatchError(
        f"{len(rejected)} of {total} entries of the batch can't be used{limit}: {reasons}. {mend}", rejected
    )


def _scale_boxes(boxes: pd.DataFrame, studies: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return the boxes of `studies` in pixels of the prepared images."""
    scaled = boxes.merge(studies[["image", "width", "height"]], on="image")
    for column, side in (("x", "width"), ("w", "width"), ("y", "height"), ("h", "height")):
        scaled[column] *= size / scaled[side]
    return scaled[["image", "finding", "x", "y", "w", "h"]]
