import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import IMAGES, STUDIES, BatchFolders, Dataset, load_dataset, unlabelled_in
from chestxray.errors import UserError
from chestxray.findings import FINDINGS


def prepared(
    data: Path, name: str, labels: dict[str, list[int]], dtype: str = "int8", patient_known: bool = True
) -> BatchFolders:
    """A batch of two images that is prepared for these findings, between the columns about a study."""
    folders = BatchFolders(name, data)
    hashes = [f"{name}{row}" for row in range(2)]
    table = pd.DataFrame({"image": ["1.png", "a/2.png"], "patient": hashes, "split": "train"})
    for finding, column in labels.items():
        table[finding] = np.array(column, dtype)
    table = table.assign(content_hash=hashes, width=8, height=8, row=[0, 1], synthetic=False)
    for folder in (folders.prepared, folders.decoded):
        folder.mkdir(parents=True)
    table.assign(patient_known=patient_known).to_parquet(folders.prepared / STUDIES)
    np.save(folders.decoded / IMAGES, np.zeros((2, 8, 8), np.uint8))
    return folders


def test_the_findings_are_the_columns_that_say_nothing_else_about_a_study(tmp_path: Path) -> None:
    labels = {"Tuberculosis": [1, 0], "Effusion": [-1, 1], "Lungs_clear": [-1, -1]}
    dataset = load_dataset([prepared(tmp_path, "a", labels), prepared(tmp_path, "b", labels)])
    assert dataset.findings == dataset.split("train").findings == ("Tuberculosis", "Effusion", "Lungs_clear")
    assert dataset.labels.tolist() == [[1, -1, -1], [0, 1, -1]] * 2 and dataset.labels.dtype == np.int8
    assert unlabelled_in(dataset.studies) == ("Lungs_clear",)


def test_one_batch_without_patients_is_said_of_the_whole(tmp_path: Path) -> None:
    known = prepared(tmp_path, "a", {"Mass": [0, 1]})
    unknown = prepared(tmp_path, "b", {"Mass": [0, 1]}, patient_known=False)
    assert load_dataset([known]).patients_known
    assert not load_dataset([unknown]).patients_known and not load_dataset([known, unknown]).patients_known


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"Mass": [0, 1]}, "batch b is prepared for 1 findings, batch a for 2, not of both: Edema: run dvc repro"),
        ({"Edema": [0, 1], "Hernia": [0, 1]}, "not of both: Hernia, Mass: run dvc repro"),
        ({"Edema": [0, 1], "Mass": [0, 1]}, "in another order: run dvc repro"),
        ({}, "batch b is prepared with no findings"),
    ],
)
def test_batches_that_are_prepared_for_other_findings_are_refused(
    labels: dict[str, list[int]], said: str, tmp_path: Path
) -> None:
    folders = [prepared(tmp_path, "a", {"Mass": [0, 1], "Edema": [1, 0]}), prepared(tmp_path, "b", labels)]
    with pytest.raises(UserError, match=said):
        load_dataset(folders)


def test_a_column_that_is_neither_a_studys_nor_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no labels \(int8\) in column 1 of 1.*run dvc repro"):
        load_dataset([prepared(tmp_path, "a", {"Followup": [0, 3]}, dtype="int64")])


def test_the_digest_tells_findings_apart_and_stays_what_it_was_for_those_of_nih(dataset: Dataset) -> None:
    lines = ["".join([study["content_hash"], *(str(study[name]) for name in FINDINGS)])
             for _, study in dataset.studies.iterrows()]  # fmt: skip
    assert dataset.digest == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    renamed = Dataset(dataset.studies.rename(columns={"Hernia": "Tuberculosis"}), dataset.images)
    fewer = Dataset(dataset.studies.drop(columns="Hernia"), dataset.images)
    assert len({dataset.digest, renamed.digest, fewer.digest}) == 3
