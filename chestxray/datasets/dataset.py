"""Prepared batches: images as one memory-mapped array, what is known of them as tables beside it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.split import Split, check_split
from chestxray.findings import FINDINGS, UNLABELLED

PREPARED = Path("data/prepared")
"""Where the stage `prepare` puts a folder for each batch."""
STUDIES = "studies.parquet"
FILE_COLUMNS = {"split": "side"}
"""Columns that have another name in the file: the older one, with which data prepared before stay valid."""


@dataclass(frozen=True)
class Dataset:
    """One or more prepared batches.

    Attributes:
        studies: a row an image: `batch`, `image`, `patient`, `age`, `sex`, `view`, `split`, the 14 findings (int8),
            `content_hash` (SHA-256 of the decoded pixels), `width`, `height` (pixels of the file), `synthetic`,
            and `row`, its place in the array of its batch.
        images: batch name → uint8 N × S × S, memory-mapped.
        known: `batch`, `image` and `reason` of what was left out, since an earlier batch has the same image.
    """

    studies: pd.DataFrame
    images: dict[str, npt.NDArray[np.uint8]]
    known: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["batch", "image", "reason"], dtype="str"))

    def split(self, split: Split) -> "Dataset":
        """The part of the data on one side of the split."""
        return Dataset(self.studies[self.studies["split"] == split].reset_index(drop=True), self.images)

    @property
    def synthetic(self) -> bool:
        """Whether any of the images is a phantom."""
        return bool(self.studies["synthetic"].any())

    @property
    def kind(self) -> str:
        """What the images are, for a person: "synthetic phantoms" or "radiographs"."""
        return "synthetic phantoms" if self.synthetic else "radiographs"

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """The labels, int8, N × 14, in the order of `FINDINGS`: 1 present, 0 absent, -1 not labelled."""
        return self.studies[list(FINDINGS)].to_numpy(np.int8)

    @property
    def unlabelled(self) -> dict[str, tuple[str, ...]]:
        """Of the batches that lack some labels, the findings that they don't label."""
        by_batch = {batch: unlabelled_in(rows) for batch, rows in self.studies.groupby("batch", sort=False)}
        return {str(batch): findings for batch, findings in by_batch.items() if findings}

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """The patient of each image, N."""
        return self.studies["patient"].to_numpy(np.str_)

    @property
    def digest(self) -> str:
        """SHA-256 of the labels and decoded pixels of the images, in their order."""
        rows = self.studies["content_hash"] + self.studies[list(FINDINGS)].astype(str).agg("".join, axis=1)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, uint8, S × S."""
        study = self.studies.iloc[index]
        pixels: npt.NDArray[np.uint8] = self.images[study["batch"]][study["row"]]
        return pixels

    def chunks(self, size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The images in order, `size` at a time: uint8, at most `size` × S × S × 1."""
        for start in range(0, len(self.studies), size):
            stop = min(start + size, len(self.studies))
            yield np.stack([self.pixels(index) for index in range(start, stop)])[..., None]


def unlabelled_in(studies: pd.DataFrame) -> tuple[str, ...]:
    """The findings that none of the studies labels."""
    return tuple(finding for finding in FINDINGS if (studies[finding] == UNLABELLED).all())


def label_cells(labels: "pd.Series[int]") -> "pd.Series[int]":
    """Labels for a table that people read: Int8, empty where there is none."""
    return labels.astype("Int8").mask(labels == UNLABELLED)


def prepared_folders(batches: Iterable[str]) -> list[Path]:
    """The prepared form of each batch."""
    return [PREPARED / batch for batch in batches]


def write_studies(studies: pd.DataFrame, folder: Path) -> None:
    """Write the table of a prepared batch."""
    studies.rename(columns=FILE_COLUMNS).to_parquet(folder / STUDIES, index=False)


def read_studies(folder: Path) -> pd.DataFrame:
    """Read the table of a prepared batch, as `Dataset.studies` has it, but for `batch` and `row`."""
    return pd.read_parquet(folder / STUDIES).rename(columns={new: old for old, new in FILE_COLUMNS.items()})


def load_dataset(prepared: Iterable[Path]) -> Dataset:
    """Opens prepared batches, in the order given, as one data set; an image that several have is the first one's.

    Raises:
        SplitError: a patient or an identical image stands on two sides of the split.
    """
    tables, images = [], {}
    for folder in prepared:
        table = read_studies(folder)
        tables.append(table.assign(batch=folder.name, row=np.arange(len(table))))
        images[folder.name] = np.load(folder / "images.npy", mmap_mode="r")
    studies = pd.concat(tables, ignore_index=True)
    check_split(studies)
    again = studies["content_hash"].duplicated()
    return Dataset(studies[~again].reset_index(drop=True), images, _known(studies, again))


def _known(studies: pd.DataFrame, again: "pd.Series[bool]") -> pd.DataFrame:
    """Says of each image that is there `again` where it was first."""
    first = studies[~again].set_index("content_hash").loc[studies.loc[again, "content_hash"]]
    known = studies.loc[again, ["batch", "image"]].reset_index(drop=True)
    known["reason"] = [
        f"already in batch {batch} as {image}" for batch, image in zip(first["batch"], first["image"], strict=True)
    ]
    return known.astype("str")


def load_boxes(prepared: Iterable[Path]) -> pd.DataFrame:
    """Boxes of prepared batches: `batch`, `image`, `finding`, `x`, `y`, `w`, `h` in pixels of the prepared images."""
    tables = [pd.read_parquet(folder / "boxes.parquet").assign(batch=folder.name) for folder in prepared]
    return pd.concat(tables, ignore_index=True)
