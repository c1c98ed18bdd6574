"""Prepare a batch: what its table says of the images that are decoded, and the split of every patient."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chestxray.datasets.batch import ALL_VIEWS, AS_SAID, Batch, read_batch
from chestxray.datasets.dataset import (
    BOXES,
    REFUSED_STUDIES,
    REJECTED,
    ROWS_AT_ONCE,
    STUDIES,
    BatchFolders,
    write_split,
)
from chestxray.datasets.decoded_files import NO_ROW, UNREADABLE, DecodedFiles, read_decoded
from chestxray.datasets.description import describe_reading, describe_rejected
from chestxray.datasets.placed_boxes import place_boxes
from chestxray.datasets.split import check_split, patient_split
from chestxray.datasets.tables.rejections import NOT_FRONTAL, Rejection, count_reasons, rejection_table, shown
from chestxray.datasets.tables.rows import NO_TABLE_ROW
from chestxray.errors import UserError
from chestxray.findings import Vocabulary
from chestxray.params import PrepareParams, ReadingParams, Views
from chestxray.system.files import atomic_write

KINDS_SHOWN = 5
"""How many kinds of fault a refusal lists."""
MOST = 0.5
"""Of a batch; where more is at fault it was not understood, and a higher limit would hide that."""


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
    folders: BatchFolders,
    params: PrepareParams,
    vocabulary: Vocabulary,
    reading: ReadingParams = AS_SAID,
) -> pd.DataFrame:
    """Prepare a batch that is decoded: write `studies.parquet`, `boxes.parquet`, `refused.csv`, `rejected.csv`.

    The folder appears whole or not at all; beside it, what the features are computed from: `splits/<batch>.parquet`.

    Args:
        root: the batch.
        folders: where it is decoded, and where to write.
        params: which views, split, how much may be rejected.
        vocabulary: the findings, and by what names tables call them.
        reading: what a person says of the table.

    Returns:
        What was rejected: `batch`, `image`, `where`, `reason`.

    Raises:
        UserError: the folder can't be read as a batch at all, or is not decoded.
        BatchError: more than `params.max_rejected` of the batch was rejected, or nothing is left. Its `rejected`
            attribute holds the table.
        SplitError: a patient or an identical image is in two splits.
    """
    batch = read_batch(root, vocabulary, reading, params.views)
    print(*describe_reading(batch), sep="\n", flush=True)
    studies, boxes, refused, rejected = examine_batch(batch, folders.name, params, read_decoded(folders.decoded))
    print(*describe_rejected(rejected), sep="\n", flush=True)
    rejected = pd.concat([rejected, batch.left_out.assign(batch=folders.name)], ignore_index=True)
    with atomic_write(folders.prepared) as folder:
        folder.mkdir()
        studies.to_parquet(folder / STUDIES, index=False, row_group_size=ROWS_AT_ONCE)
        boxes.to_parquet(folder / BOXES, index=False)
        refused.to_csv(folder / REFUSED_STUDIES, index=False)
        rejected.to_csv(folder / REJECTED, index=False)
    write_split(studies, folders)
    return rejected


class Examined(NamedTuple):
    """What of a batch can be used.

    Attributes:
        studies: with `split`, `content_hash`, `width`, `height`, `row`, `synthetic`, `patient_known` and `table`.
        boxes: those of the studies that lie in their images, in pixels of the prepared images; see `place_boxes`.
        refused: `image`, `check`, `value`, `limit` of the studies that the service would refuse by their pixels.
        rejected: `batch`, `image`, `where`, `reason`; those that are not frontal by their DICOM header among them.
    """

    studies: pd.DataFrame
    boxes: pd.DataFrame
    refused: pd.DataFrame
    rejected: pd.DataFrame


def examine_batch(batch: Batch, name: str, params: PrepareParams, decoded: DecodedFiles) -> Examined:
    """Join a table with the files that are decoded; of identical images the first one counts.

    Args:
        batch: as read.
        name: of the batch.
        params: as for `prepare_batch`.
        decoded: all its files.

    Raises:
        UserError, BatchError, SplitError: as `prepare_batch` does.
    """
    files = _files(batch, name, decoded)
    faults = _file_faults(files, params.views)
    facts = {column: files[column] for column in ("content_hash", "width", "height", "row")}
    known = batch.patients_by == "table"
    of_batch = batch.studies.assign(**facts, synthetic=batch.synthetic, patient_known=known, table=batch.table)
    studies = of_batch[faults == ""]
    splits = {p: patient_split(p, params, batch.official_test) for p in studies["patient"].unique()}
    studies.insert(5, "split", studies["patient"].map(splits))
    check_split(studies)
    first = studies.groupby("content_hash", sort=False)["image"].transform("first")
    again = first != studies["image"]
    faults[first.index[again]] = "identical image: the same pixels as " + first[again]
    unusable = files.rename(columns={"path": "where"})[["image", "where"]].assign(reason=faults)[faults != ""]
    placed = place_boxes(batch.boxes, batch.boxes_side, files[faults == ""], params.size)
    bad = (batch.rejected, unusable, _unnamed_images(batch, decoded), rejection_table(placed.rejected))
    rejected = pd.concat(bad, ignore_index=True).sort_values(["image", "reason"])
    rejected.insert(0, "batch", name)
    damaged = rejected[~rejected["reason"].str.startswith(NOT_FRONTAL)]
    usable = int((faults == "").sum())
    _check_rejected(damaged if usable else rejected, usable, params.max_rejected)
    refused = files.loc[faults == "", ["image", "path"]].merge(decoded.refused, on="path").drop(columns="path")
    rejected = pd.concat([rejected, rejection_table(placed.turned).assign(batch=name)], ignore_index=True)
    return Examined(studies[~again].reset_index(drop=True), placed.boxes, refused, rejected)


def _files(batch: Batch, name: str, decoded: DecodedFiles) -> pd.DataFrame:
    """Return `image` of each study, and what is known of its file, as `DecodedFiles.files` has it."""
    images = batch.studies["image"]
    paths = pd.Index([batch.paths[image].relative_to(batch.root).as_posix() for image in images])
    places = pd.Index(decoded.files["path"]).get_indexer(paths)
    missing = paths[places < 0]
    if len(missing):
        raise UserError(
            f"{len(missing)} images are not decoded, such as {shown(missing[0])}: run dvc repro; after a change of "
            f"follow_links, dvc repro --force --single-item decode@{name} before it"
        )
    files: pd.DataFrame = decoded.files.iloc[places].reset_index(drop=True)
    return files.assign(image=images)


def _unnamed_images(batch: Batch, decoded: DecodedFiles) -> pd.DataFrame:
    """Reject the files that no row names and whose names tell no image, but which hold one."""
    files = decoded.files
    unreadable = files["reason"].str.startswith(UNREADABLE)
    paths = files.loc[files["path"].isin(batch.unknown_files) & ~unreadable, "path"]
    return rejection_table(Rejection(path, path, NO_TABLE_ROW) for path in paths)


def _file_faults(files: pd.DataFrame, views: Views) -> "pd.Series[str]":
    """Return why each file can't be used, empty where it can."""
    faults = files["reason"].astype(object)
    if views == "frontal":
        other = (files["row"] != NO_ROW) & (files["not_frontal"] != "")
        faults[other] = f"{NOT_FRONTAL}: " + files.loc[other, "not_frontal"] + f" {ALL_VIEWS} takes every view."
    return faults


def _check_rejected(rejected: pd.DataFrame, accepted: int, max_rejected: float) -> None:
    total = accepted + len(rejected)
    if accepted and len(rejected) <= max_rejected * total:
        return
    reasons = "; ".join(count_reasons(rejected, KINDS_SHOWN)) or "it has no studies"
    limit = f", more than prepare.max_rejected ({max_rejected:.1%})" if accepted else ": nothing is left"
    mend = "Mend the batch, or list images to leave out in a file that batches.<name>.exclude (--exclude) names"
    if len(rejected) <= MOST * total:
        mend += ", or raise prepare.max_rejected (chestxray evaluate: --max-rejected)"
    raise BatchError(
        f"{len(rejected)} of {total} entries of the batch can't be used{limit}: {reasons}. {mend}", rejected
    )
