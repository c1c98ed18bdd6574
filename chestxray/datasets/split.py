"""Assign patients to train, validation and test, and check that none is in two of them.

The split of a patient is a function of the id alone (or of the official NIH test list), so it never changes, whatever
batch arrives later; a batch whose list says otherwise is refused. See docs/decisions/split.md.
"""

import hashlib
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.errors import UserError
from chestxray.params import PrepareParams

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class SplitError(UserError):
    """A patient or an image is in two splits."""


def patient_split(patient: str, params: PrepareParams, official_test: frozenset[str] | None) -> Split:
    """Return the split of a patient.

    Args:
        patient: the id.
        params: shares of patients and the salt of the hash.
        official_test: patients of the batch's official test list; None when it has no such list, and then test
            patients are drawn by the hash too.
    """
    digest = hashlib.sha256(f"{params.salt}:{patient}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw >= 1.0 - params.validation and (official_test is None or patient not in official_test):
        return "validation"
    in_test = draw < params.test if official_test is None else patient in official_test
    return "test" if in_test else "train"


def check_split(studies: pd.DataFrame) -> None:
    """Check that no patient and no image is in two splits.

    Args:
        studies: a row an image with the columns `patient`, `split`, `content_hash` and `image`.

    Raises:
        SplitError: naming the images of the patients, or those with identical pixels, that do.
    """
    split = pd.factorize(studies["split"])[0]
    for column, what in (("patient", "patients"), ("content_hash", "identical images")):
        key = _hashes(studies[column])
        order = np.argsort(key)
        across = (np.diff(key[order]) == 0) & (np.diff(split[order]) != 0)
        suspects = studies[np.isin(key, key[order[1:][across]])]  # with those that only share a hash, told apart next
        sides = suspects[[column, "split"]].drop_duplicates()[column]
        torn = suspects[suspects[column].isin(sides[sides.duplicated()])].sort_values([column, "image"])
        if len(torn):
            images = torn["image"].drop_duplicates()  # what identifies patients stays out of messages
            listed = ", ".join(images.head(10)) + (", …" if len(images) > 10 else "")
            raise SplitError(
                f"{torn[column].nunique()} {what} on two sides of the split, with the images {listed}. Remove one of "
                "each pair from its batch, or, if different people share these ids, give them ids of their own. Where "
                "one batch has a test_list.txt and another draws by hash, give each a list that names its own images "
                "of the same patients"
            )


def has_repeats(names: "pd.Series[str]") -> bool:
    """Say whether a name is there twice, in little memory for many names."""
    return bool((np.diff(np.sort(_hashes(names))) == 0).any()) and bool(names.duplicated().any())


def _hashes(names: "pd.Series[str]") -> npt.NDArray[np.int64]:
    """Return a number for each name, equal for equal ones: tables of the names themselves take 200 bytes a name."""
    return np.fromiter(map(hash, names), np.int64, len(names))


def split_fingerprint(test: pd.DataFrame, params: PrepareParams) -> dict[str, str]:
    """Return by what the test patients of each batch were drawn: another draw may have trained on some of them.

    Args:
        test: the test studies, with the columns `batch` and `patient`.
        params: shares of patients and the salt of the hash.

    Returns:
        For each batch "hash", if the hash alone would make all of them test, else the SHA-256 of their ids.
    """
    draws = {}
    for batch, patients in test.groupby("batch", sort=False)["patient"]:
        ids = sorted(set(patients))
        drawn = all(patient_split(patient, params, None) == "test" for patient in ids)
        draws[str(batch)] = "hash" if drawn else hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return draws


def patient_fold(patient: str, folds: int) -> int:
    """Return the fold of a patient, 0 to `folds` − 1: a hash of the id, so that folds never share a patient."""
    return int.from_bytes(hashlib.sha256(f"fold:{patient}".encode()).digest()[:8], "big") % folds
