"""Open prepared batches as one data set: images as memory-mapped arrays, labels and patients as a table."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyarrow import parquet

from chestxray.datasets.split import SPLITS, Split, check_split, has_repeats
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, STUDY_COLUMNS, UNLABELLED
from chestxray.system.files import atomic_write
from chestxray.system.malloc import give_back_free_memory

DATA = Path("data")
"""Where the stages put the folders of each batch."""
IMAGES = "images.npy"
STUDIES = "studies.parquet"
BOXES = "boxes.parquet"
REFUSED_STUDIES = "refused.csv"
REJECTED = "rejected.csv"
ROWS_AT_ONCE = 8192
"""Of a group in the Parquet file of studies, which is read group by group: a table of 112,120 studies takes 22 MiB, and
reading it 27 at the peak, where it was 56 with one group."""


@dataclass(frozen=True)
class BatchFolders:
    """Where the stages keep what they made of a batch.

    Attributes:
        name: of the batch.
        data: the folder with a folder for each stage.
    """

    name: str
    data: Path = DATA

    @property
    def decoded(self) -> Path:
        """Pixels of all its files, and facts of each: what `decode_batch` writes."""
        return self.data / "decoded" / self.name

    @property
    def prepared(self) -> Path:
        """Studies and boxes: what `prepare_batch` writes."""
        return self.data / "prepared" / self.name

    @property
    def features(self) -> Path:
        """What the frozen part of the network makes of the images."""
        return self.data / "features" / self.name

    @property
    def split_file(self) -> Path:
        """Row, content hash and split of each study: all that features depend on, besides the pixels."""
        return self.data / "splits" / f"{self.name}.parquet"


@dataclass(frozen=True)
class Images:
    """Images of prepared batches, with what must be known of them whatever they show.

    Attributes:
        studies: a row an image, with at least `batch`, `row` (its place in the array of its batch), `content_hash`
            (SHA-256 of the decoded pixels) and `split`.
        images: for each batch `(N, S, S)` uint8, memory-mapped.
    """

    studies: pd.DataFrame
    images: dict[str, npt.NDArray[np.uint8]]

    def split(self, split: Split) -> Self:
        """Return the images of one split."""
        return type(self)(self.studies[self.studies["split"] == split].reset_index(drop=True), self.images)

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one image, `(S, S)` uint8."""
        study = self.studies.iloc[index]
        pixels: npt.NDArray[np.uint8] = self.images[study["batch"]][study["row"]]
        return pixels

    def chunks(self, size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the images in order, `size` at a time: at most `(size, S, S, 1)` uint8."""
        for start in range(0, len(self.studies), size):
            stop = min(start + size, len(self.studies))
            yield np.stack([self.pixels(index) for index in range(start, stop)])[..., None]


@dataclass(frozen=True)
class Dataset(Images):
    """One or more prepared batches, with all that is known of each image.

    Attributes:
        studies: a row an image: `batch`, `image`, `patient`, `age`, `sex`, `view`, `split`, the findings (int8 each),
            `content_hash` (SHA-256 of the decoded pixels), `width`, `height` (pixels of the file), `row` (its place in
            the array of its batch), `synthetic`, `patient_known`, whether the table of its batch knows patients, and
            `table`, the kind of that table.
        known: `batch`, `image` and `reason` of what was left out, since an earlier batch has the same image.
    """

    known: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["batch", "image", "reason"], dtype="str"))

    def of_batch(self, batch: str) -> "Dataset":
        """Return the images of one batch."""
        return Dataset(self.studies[self.studies["batch"] == batch].reset_index(drop=True), self.images)

    @property
    def synthetic(self) -> bool:
        """Whether any of the images is a phantom."""
        return bool(self.studies["synthetic"].any())

    @property
    def kind(self) -> str:
        """Say what the images are: "synthetic phantoms", "radiographs", or both."""
        drawn = self.studies["synthetic"].astype(bool)
        if drawn.any():
            return "synthetic phantoms" if drawn.all() else "radiographs and synthetic phantoms"
        return "radiographs"

    @property
    def patients_known(self) -> bool:
        """Whether the tables of all batches know the patients; else an image counts as a patient's only one."""
        return bool(self.studies["patient_known"].all())

    @property
    def tables(self) -> dict[str, str]:
        """Kind of the table of each batch."""
        return dict(zip(self.studies["batch"], self.studies["table"], strict=True))

    @property
    def real_tables(self) -> dict[str, str]:
        """Kind of the table of each batch of radiographs: the labels of phantoms are right whatever their table is."""
        real = self.studies[~self.studies["synthetic"].astype(bool)]
        return dict(zip(real["batch"], real["table"], strict=True))

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the k columns of labels, in their order."""
        return findings_of(self.studies)

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """Labels `(N, k)` int8, in the order of `findings`: 1 present, 0 absent, -1 not labelled."""
        return self.studies[list(self.findings)].to_numpy(np.int8)

    @property
    def unlabelled(self) -> dict[str, tuple[str, ...]]:
        """Findings that a batch does not label, for each batch that lacks some."""
        by_batch = {batch: unlabelled_in(rows) for batch, rows in self.studies.groupby("batch", sort=False)}
        return {str(batch): findings for batch, findings in by_batch.items() if findings}

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """Patient of each image, `(N,)`."""
        return self.studies["patient"].to_numpy(np.str_)

    @property
    def digest(self) -> str:
        """SHA-256 of the labels and decoded pixels of the images, in their order, and of the findings' names.

        NIH's 14 go unnamed: a benchmark that a `params.yaml` pins keeps the digest that it has always had.
        """
        names = [] if self.findings == FINDINGS else list(self.findings)
        labels = ("".join(map(str, row.tolist())) for row in self.labels)
        rows = (name + said for name, said in zip(self.studies["content_hash"], labels, strict=True))
        return hashlib.sha256("\n".join([*names, *rows]).encode()).hexdigest()


def findings_of(studies: pd.DataFrame) -> tuple[str, ...]:
    """Return the findings of a table of studies: its columns that say nothing else about a study, in their order."""
    return tuple(column for column in studies.columns if column not in STUDY_COLUMNS)


def unlabelled_in(studies: pd.DataFrame) -> tuple[str, ...]:
    """Return the findings that none of the studies labels."""
    return tuple(finding for finding in findings_of(studies) if (studies[finding] == UNLABELLED).all())


def label_cells(labels: "pd.Series[int]") -> "pd.Series[int]":
    """Return labels for a table that people read: Int8, empty where there is none."""
    return labels.astype("Int8").mask(labels == UNLABELLED)


def batch_folders(batches: Iterable[str]) -> list[BatchFolders]:
    """Return the folders of each batch."""
    return [BatchFolders(batch) for batch in batches]


def read_studies(folders: BatchFolders) -> pd.DataFrame:
    """Read the table of a prepared batch, as `Dataset.studies` has it, but for `batch`."""
    return pd.concat(_read_prepared(folders.prepared / STUDIES, folders.name, SPLITS), ignore_index=True)


def write_split(studies: pd.DataFrame, folders: BatchFolders) -> None:
    """Write what the features of a batch depend on, besides its pixels."""
    with atomic_write(folders.split_file) as partial:
        studies[["row", "content_hash", "split"]].to_parquet(partial, index=False, row_group_size=ROWS_AT_ONCE)


def load_images(folders: BatchFolders) -> Images:
    """Open the images of one prepared batch, whatever its table says of them."""
    studies = pd.concat(_read_prepared(folders.split_file, folders.name, SPLITS), ignore_index=True)
    return Images(studies.assign(batch=folders.name), {folders.name: np.load(folders.decoded / IMAGES, mmap_mode="r")})


def _read_prepared(file: Path, batch: str, splits: Collection[Split]) -> list[pd.DataFrame]:
    """Read the rows of some splits, a part for each group of rows; the first has none and says what columns there are.

    What reading a group leaves within the heap is given back before the next: together that is as much as the table.
    """
    if not file.is_file():
        raise UserError(f"batch {batch} is not prepared, there is no {file}: run dvc repro")
    with parquet.ParquetFile(file) as groups:
        parts = [groups.schema_arrow.empty_table().to_pandas()]
        for group in range(groups.num_row_groups):
            rows = groups.read_row_group(group, use_threads=False).to_pandas()
            if not rows.dtypes.equals(parts[0].dtypes):
                raise UserError(f"batch {batch} is prepared with empty cells, as by another version: run dvc repro")
            parts.append(rows if len(splits) == len(SPLITS) else rows[rows["split"].isin(splits)])
            give_back_free_memory()
    return parts


def load_dataset(batches: Iterable[BatchFolders], *splits: Split) -> Dataset:
    """Open prepared batches, in the order given, as one data set.

    An image found in several batches is kept from the first.

    Args:
        batches: their folders.
        splits: those whose images are wanted, if not all; the table of the others takes no memory, and is not checked.

    Raises:
        UserError: a batch is not prepared, or for other findings than the first one.
        SplitError: a patient or an identical image is in two of the splits.
    """
    tables = {}
    images = {}
    for folders in batches:
        parts = _read_prepared(folders.prepared / STUDIES, folders.name, splits or SPLITS)
        tables[folders.name] = [part.assign(batch=folders.name) for part in parts]
        images[folders.name] = np.load(folders.decoded / IMAGES, mmap_mode="r")
    _check_findings({batch: parts[0] for batch, parts in tables.items()})
    studies = pd.concat(chain.from_iterable(tables.values()), ignore_index=True)
    tables.clear()
    give_back_free_memory()
    check_split(studies)
    if not has_repeats(studies["content_hash"]):
        return Dataset(studies, images)
    again = studies["content_hash"].duplicated()
    return Dataset(studies[~again].reset_index(drop=True), images, _list_known(studies, again))


def _check_findings(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check that prepared batches, each by its name, label the same findings in the same order."""
    first, expected = next((batch, findings_of(table)) for batch, table in tables.items())
    for batch, table in tables.items():
        findings = findings_of(table)
        strange = [place + 1 for place, finding in enumerate(findings) if table[finding].dtype != np.int8]
        if strange or not findings:
            what = f"no labels (int8) in column {strange[0]} of {len(findings)}" if strange else "no findings"
            raise UserError(f"batch {batch} is prepared with {what}, as another version does it: run dvc repro")
        if findings != expected:
            differing = ", ".join(sorted(set(findings).symmetric_difference(expected)))
            raise UserError(
                f"batch {batch} is prepared for {len(findings)} findings, batch {first} for {len(expected)}, "
                f"{f'not of both: {differing}' if differing else 'in another order'}: run dvc repro"
            )


def _list_known(studies: pd.DataFrame, again: "pd.Series[bool]") -> pd.DataFrame:
    """Return `batch`, `image` and `reason` of the images that are there `again`."""
    first = studies[~again].set_index("content_hash").loc[studies.loc[again, "content_hash"]]
    known = studies.loc[again, ["batch", "image"]].reset_index(drop=True)
    known["reason"] = [
        f"already in batch {batch} as {image}" for batch, image in zip(first["batch"], first["image"], strict=True)
    ]
    return known.astype("str")


def load_boxes(batches: Iterable[BatchFolders]) -> pd.DataFrame:
    """Read the boxes of prepared batches.

    Returns:
        `batch`, `image`, `finding`, and `x`, `y`, `w`, `h` in pixels of the prepared images.
    """
    tables = [pd.read_parquet(each.prepared / BOXES).assign(batch=each.name) for each in batches]
    return pd.concat(tables, ignore_index=True)


def load_refused(batches: Iterable[BatchFolders]) -> pd.DataFrame:
    """Read which studies of prepared batches the service would refuse by their pixels.

    Returns:
        `batch`, `image`, `check`, `value`, `limit`.
    """
    types = {"image": "str", "check": "str"}
    tables = [pd.read_csv(each.prepared / REFUSED_STUDIES, dtype=types).assign(batch=each.name) for each in batches]
    return pd.concat(tables, ignore_index=True)[["batch", "image", "check", "value", "limit"]]
