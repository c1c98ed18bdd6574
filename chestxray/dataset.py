"""Prepared batches: images as one memory-mapped array, what is known of them as tables beside it."""

import hashlib
import itertools
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.array_file import ArrayFile
from chestxray.findings import FINDINGS
from chestxray.nih import Batch, read_batch
from chestxray.params import PrepareParams
from chestxray.progress import progress
from chestxray.radiograph import RadiographError, decode, resize
from chestxray.split import Side, check_split, side_of

MAX_FILE_BYTES = 100_000_000
IMAGES_IN_FLIGHT = 256


class BatchError(ValueError):
    """Too much of a batch is unusable; the message says how much and why.

    Attributes:
        rejected: the list, as `prepare_batch` returns it.
    """

    def __init__(self, message: str, rejected: pd.DataFrame) -> None:
        super().__init__(message)
        self.rejected = rejected


@dataclass(frozen=True)
class Dataset:
    """One or more prepared batches.

    Attributes:
        studies: a row an image: `batch`, `image`, `patient`, `age`, `sex`, `view`, `side`, the 14 findings (int8),
            `content_hash` (SHA-256 of the decoded pixels), `width`, `height` (pixels of the file), and `row`, its
            place in the array of its batch.
        images: batch name → uint8 N × S × S, memory-mapped.
    """

    studies: pd.DataFrame
    images: dict[str, npt.NDArray[np.uint8]]

    def side(self, side: Side) -> "Dataset":
        """The part of the data on one side of the split."""
        return Dataset(self.studies[self.studies["side"] == side].reset_index(drop=True), self.images)

    @property
    def truth(self) -> npt.NDArray[np.int8]:
        """The labels, int8, N × 14, in the order of `FINDINGS`."""
        return self.studies[list(FINDINGS)].to_numpy(np.int8)

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """The patient of each image, N."""
        return self.studies["patient"].to_numpy(np.str_)

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, uint8, S × S."""
        study = self.studies.iloc[index]
        return self.images[study["batch"]][study["row"]]

    def chunks(self, size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The images in order, `size` at a time: uint8, at most `size` × S × S × 1."""
        for start in range(0, len(self.studies), size):
            stop = min(start + size, len(self.studies))
            yield np.stack([self.pixels(index) for index in range(start, stop)])[..., None]


def load_dataset(prepared: Iterable[Path]) -> Dataset:
    """Opens prepared batches, in the order given, as one data set.

    Raises:
        SplitError: a patient or an identical image stands on two sides of the split.
    """
    tables, images = [], {}
    for folder in prepared:
        table = pd.read_parquet(folder / "studies.parquet")
        tables.append(table.assign(batch=folder.name, row=np.arange(len(table))))
        images[folder.name] = np.load(folder / "images.npy", mmap_mode="r")
    studies = pd.concat(tables, ignore_index=True)
    check_split(studies)
    return Dataset(studies, images)


def prepare_batch(root: Path, out: Path, params: PrepareParams) -> pd.DataFrame:
    """Decodes a batch in NIH layout into `out`: `images.npy`, `studies.parquet`, `boxes.parquet`, `rejected.csv`.

    All cores decode; memory does not grow with the batch. `out` appears whole or not at all.

    Args:
        root: the batch.
        out: the folder to make; its name is the name of the batch.
        params: size of the images, split, how much may be rejected.

    Returns:
        What was rejected: `batch`, `image`, `reason`.

    Raises:
        ValueError: the folder can't be read as a batch at all.
        BatchError: more than `params.max_rejected` of the batch was rejected, or nothing is left. Its `rejected`
            attribute holds the table.
        SplitError: a patient or an identical image on two sides.
    """
    batch = read_batch(root)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _folder(out) as folder:
        accepted, unreadable = _decode_all(batch, folder / "images.npy", params.size, out.name)
        rejected = pd.concat([batch.rejected, unreadable], ignore_index=True).sort_values(["image", "reason"])
        rejected.insert(0, "batch", out.name)
        _check_rejected(rejected, len(accepted), params.max_rejected)
        studies = batch.studies.merge(accepted, on="image", validate="one_to_one")
        sides = {p: side_of(p, params, batch.official_test) for p in studies["patient"].unique()}
        studies.insert(5, "side", studies["patient"].map(sides))
        check_split(studies)
        studies.to_parquet(folder / "studies.parquet", index=False)
        _scale_boxes(batch.boxes, studies, params.size).to_parquet(folder / "boxes.parquet", index=False)
        rejected.to_csv(folder / "rejected.csv", index=False)
    return rejected


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when all went well, and disappears otherwise."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        yield folder
        shutil.rmtree(out, ignore_errors=True)
        os.replace(folder, out)


def _decode_all(batch: Batch, file: Path, size: int, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes the decodable images in the order of the table; returns their facts, and what is not decodable."""
    accepted: list[tuple[str, str, int, int]] = []
    rejected: list[tuple[str, str]] = []
    images: Sequence[str] = batch.studies["image"].tolist()
    with ArrayFile(file, (size, size), np.uint8) as array, ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = _bounded_map(pool, [batch.paths[image] for image in images], size)
        for image, result in progress(zip(images, decoded, strict=True), f"preparing {name}", len(images)):
            if isinstance(result, str):
                rejected.append((image, result))
            else:
                pixels, content_hash, width, height = result
                array.append(pixels[None])
                accepted.append((image, content_hash, width, height))
    columns = ["image", "content_hash", "width", "height"]
    return pd.DataFrame(accepted, columns=columns), pd.DataFrame(rejected, columns=["image", "reason"])


Decoded = tuple[npt.NDArray[np.uint8], str, int, int]


def _bounded_map(pool: ThreadPoolExecutor, paths: Sequence[Path], size: int) -> Iterator[Decoded | str]:
    """`pool.map`, but with a bounded number of results in memory."""
    remaining = iter(paths)
    futures = deque(pool.submit(_decode, path, size) for path in itertools.islice(remaining, IMAGES_IN_FLIGHT))
    while futures:
        yield futures.popleft().result()
        futures.extend(pool.submit(_decode, path, size) for path in itertools.islice(remaining, 1))


def _decode(path: Path, size: int) -> Decoded | str:
    """The prepared pixels, the hash of the decoded ones and their size; or why there are none."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return f"file larger than {MAX_FILE_BYTES:,} bytes"
        pixels = decode(path.read_bytes()).pixels
    except (RadiographError, OSError) as error:
        return f"unreadable image: {error.strerror if isinstance(error, OSError) else error}"
    height, width = pixels.shape
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return resize(pixels, size), digest.hexdigest(), width, height


def _check_rejected(rejected: pd.DataFrame, accepted: int, max_rejected: float) -> None:
    total = accepted + len(rejected)
    if accepted and len(rejected) <= max_rejected * total:
        return
    reasons = "; ".join(f"{count}× {reason}" for reason, count in rejected["reason"].value_counts().head(5).items())
    limit = f", more than prepare.max_rejected ({max_rejected:.1%})" if accepted else ": nothing is left"
    raise BatchError(
        f"{len(rejected)} of {total} entries of the batch can't be used{limit}: {reasons}. "
        "Mend the batch, or raise prepare.max_rejected",
        rejected,
    )


def _scale_boxes(boxes: pd.DataFrame, studies: pd.DataFrame, size: int) -> pd.DataFrame:
    """Boxes in pixels of the prepared images."""
    scaled = boxes.merge(studies[["image", "width", "height"]], on="image")
    for column, side in (("x", "width"), ("w", "width"), ("y", "height"), ("h", "height")):
        scaled[column] *= size / scaled[side]
    return scaled[["image", "finding", "x", "y", "w", "h"]]
