"""Keep digests of the images and patients that a model was fitted on, so that others can tell theirs apart from them.

An image's is that of all its decoded pixels: only who has the image can find it. A patient's is that of an id, which
can be guessed: who has this file can test whether an id was among the training patients. So it is never served, and a
bundle works without it (docs/decisions/trained-on.md).
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.errors import UserError
from chestxray.system.files import write_parquet

TRAINED_ON = "trained_on.parquet"
"""Beside `bundle.json`."""
IMAGE, PATIENT, MODEL = "image", "patient", "model"
Digests = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class TrainedOn(NamedTuple):
    """Digests of what a model was fitted on, salted with that of its training data: 8 bytes each, sorted.

    Attributes:
        salt: SHA-256 of the training data.
        images: by the SHA-256 of their decoded pixels.
        patients: by their ids; of batches that know patients.
    """

    salt: str
    images: Digests
    patients: Digests

    @classmethod
    def of(cls, studies: pd.DataFrame, salt: str) -> Self:
        """Digest the images of training and validation, with `content_hash`, `patient` and `patient_known`."""
        nothing = np.zeros(0, np.uint64)
        return cls(salt, nothing, nothing).with_images(studies[studies["split"] != "test"])

    @classmethod
    def read(cls, folder: Path, salt: str) -> Self | None:
        """Read the file of a bundle; None if it has none.

        Raises:
            UserError: it is damaged, or that of another model.
        """
        file = folder / TRAINED_ON
        if not file.is_file():
            return None
        try:
            table = pd.read_parquet(file, columns=["of", "digest"])
            groups = {str(of): rows.to_numpy(np.uint64) for of, rows in table.groupby("of")["digest"]}
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"{TRAINED_ON} of the bundle is damaged: remove it, or fetch the bundle again") from error
        nothing = np.zeros(0, np.uint64)
        if not np.array_equal(groups.get(MODEL, nothing), _digest_each(salt, MODEL, [salt])):
            raise UserError(f"{TRAINED_ON} belongs to another model: remove it, or fetch the bundle again")
        return cls(salt, *(np.sort(groups.get(of, nothing)) for of in (IMAGE, PATIENT)))

    def with_images(self, studies: pd.DataFrame) -> Self:
        """Return these and the images of other studies, with `content_hash`, `patient` and `patient_known`."""
        known = studies.loc[studies["patient_known"], "patient"].unique()
        images = np.union1d(self.images, _digest_each(self.salt, IMAGE, studies["content_hash"]))
        return type(self)(self.salt, images, np.union1d(self.patients, _digest_each(self.salt, PATIENT, known)))

    def write(self, folder: Path) -> None:
        """Write the file of a bundle."""
        parts = {MODEL: _digest_each(self.salt, MODEL, [self.salt]), IMAGE: self.images, PATIENT: self.patients}
        tables = [pd.DataFrame({"of": of, "digest": digests}) for of, digests in parts.items()]
        write_parquet(folder / TRAINED_ON, pd.concat(tables, ignore_index=True))

    def seen(self, studies: pd.DataFrame) -> tuple[Mask, Mask]:
        """Say which images of other studies are among these, and which are of patients that are: `(n,)` each."""
        images = np.isin(_digest_each(self.salt, IMAGE, studies["content_hash"]), self.images)
        patients = np.isin(_digest_each(self.salt, PATIENT, studies["patient"]), self.patients)
        return images, patients & studies["patient_known"].to_numpy(bool)


def _digest_each(salt: str, of: str, values: Iterable[str]) -> Digests:
    found = (hashlib.sha256(f"{salt}:{of}:{value}".encode()).digest()[:8] for value in values)
    return np.array([int.from_bytes(digest, "big") for digest in found], np.uint64)
