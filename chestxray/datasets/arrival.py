"""Examine a new batch before it is listed: say what it would bring, and refuse what can't be used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from chestxray.datasets.batch import AS_SAID, Batch, read_batch
from chestxray.datasets.dataset import DATA, STUDIES, BatchFolders, read_studies
from chestxray.datasets.decode import decode_files
from chestxray.datasets.description import (
    describe_reading,
    describe_refused,
    describe_rejected,
    describe_split,
    describe_studies,
)
from chestxray.datasets.prepare import examine_batch
from chestxray.datasets.split import check_split
from chestxray.datasets.tables.rejections import MAX_SHOWN
from chestxray.errors import UserError
from chestxray.params import BatchName, Params, ReadingParams

MIXED = "WARNING   phantoms and radiographs together: a model of both means nothing; list the new batch alone"


class ArrivalError(UserError):
    """The batch can't be added; the message says why and how to mend it."""


@dataclass(frozen=True)
class Arrival:
    """What a batch would bring.

    Attributes:
        name: of the batch.
        root: as it will stand in `params.yaml`.
        reading: what a person says of its table.
        batch: as read.
        studies: those that are new, as `examine_batch` returns them.
        known_patients: patients of `studies` that earlier batches have too.
        mixed: it holds phantoms where earlier batches hold radiographs, or the other way round.
        refused: of `studies`, as `examine_batch` returns it.
        rejected: `image`, `where`, `reason`; with the images that earlier batches have.
    """

    name: str
    root: str
    reading: ReadingParams
    batch: Batch
    studies: pd.DataFrame
    known_patients: frozenset[str]
    mixed: bool
    refused: pd.DataFrame
    rejected: pd.DataFrame

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in `params.yaml`: what differs from the default."""
        said = {name: getattr(self.reading, name) for name in ReadingParams.model_fields}
        return {"root": self.root, **{name: value for name, value in said.items() if value != getattr(AS_SAID, name)}}

    def describe(self) -> str:
        """Describe the batch in some lines for a person to read."""
        patients = self.studies["patient"]
        return "\n".join(
            [
                f"batch {self.name} ({self.root})",
                *([MIXED] if self.mixed else []),
                *describe_reading(self.batch),
                f"studies   {len(self.studies)} new",
                f"patients  {patients.nunique()}, {len(self.known_patients)} of them known: they keep their side",
                describe_split(self.studies),
                *describe_studies(self.studies, self.batch.findings),
                *describe_refused(self.refused),
                *describe_rejected(self.rejected),
            ]
        )


def examine(name: str, root: Path, params: Params, reading: ReadingParams = AS_SAID, data: Path = DATA) -> Arrival:
    """Check a folder as the pipeline will, image by image, and against the batches that are there.

    Args:
        name: of the new batch.
        root: its folder.
        params: the batches that are there, and how to prepare.
        reading: what a person says of the table.
        data: the folder in which they are prepared.

    Raises:
        ArrivalError: a bad name, a name or folder in use, an earlier batch that is not prepared, nothing new.
        UserError: the folder is not a batch, too much of it is unusable, or a patient or image is in two splits.
    """
    _check_name(name, params)
    stored = _check_root(root, params)
    known = _read_known_studies(params, data)
    batch = read_batch(root, params.vocabulary, reading, params.prepare.views)
    decoded = decode_files(root, name, params.prepare.size, lambda _: None, reading.follow_links)
    studies, _, refused, rejected = examine_batch(batch, name, params.prepare, decoded)
    check_split(pd.concat([known, studies[known.columns.drop("batch")]], ignore_index=True))
    first = known.drop_duplicates("content_hash").set_index("content_hash")
    again = studies["content_hash"].isin(first.index)
    where = first.loc[studies.loc[again, "content_hash"]]
    reasons = [f"already in a batch: {row.batch} has it as {row.image}" for row in where.itertuples()]
    duplicates = pd.DataFrame({"image": studies.loc[again, "image"].tolist(), "where": "", "reason": reasons})
    new = studies[~again].reset_index(drop=True)
    if new.empty:
        raise ArrivalError(f"nothing new in {root}: earlier batches have all {len(studies)} images. Nothing was added")
    rejected = pd.concat([rejected[["image", "where", "reason"]], duplicates], ignore_index=True)
    known_patients = frozenset(new["patient"]) & frozenset(known["patient"])
    mixed = bool(known["synthetic"].any()) != batch.synthetic
    refused = refused[refused["image"].isin(new["image"])]
    return Arrival(name, stored, reading, batch, new, known_patients, mixed, refused, rejected)


def _check_name(name: str, params: Params) -> None:
    try:
        TypeAdapter(BatchName).validate_python(name)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ArrivalError(f"{name[:MAX_SHOWN]!a} is no name for a batch: {said}") from None
    if name in params.batches:
        raise ArrivalError(f"the name {name} is in use: params.yaml has batches.{name}. Choose another NAME")


def _check_root(root: Path, params: Params) -> str:
    """Return the root as it will be written: within the repository relative to it, elsewhere absolute."""
    for name, batch in params.batches.items():
        if Path(batch.root).resolve() == root.resolve():
            raise ArrivalError(
                f"{root} is in use: it is batch {name} already. A batch never changes; give a new folder"
            )
    here = Path.cwd()
    absolute = here / root
    if ".." in root.parts:
        absolute = root.resolve()
    stored = str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
    if "${" in stored or not stored.isprintable():
        raise ArrivalError(f"the folder's name {stored!r} can't stand in params.yaml: rename it")
    return stored


def _read_known_studies(params: Params, data: Path) -> pd.DataFrame:
    """Read what the checks need of the studies of all listed batches."""
    columns = ["patient", "split", "content_hash", "image", "synthetic"]
    tables = []
    for name in params.batches:
        folders = BatchFolders(name, data)
        if not (folders.prepared / STUDIES).is_file():
            raise ArrivalError(f"batch {name} is listed but not prepared: run dvc repro, then add this one")
        tables.append(read_studies(folders)[columns].assign(batch=name))
    return pd.concat(tables, ignore_index=True)
