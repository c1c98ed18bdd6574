import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import IMAGES, STUDIES, BatchFolders, Dataset, load_dataset, unlabelled_in
from chestxray.datasets.split import SPLITS
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


def test_some_splits_are_what_the_whole_has_of_them_however_the_rows_are_grouped(tmp_path: Path) -> None:
    """Batch a has no validation images, and b repeats two images of a."""
    sides = {"a": ["train", "test", "train", "test", "train"], "b": ["validation", "train", "test", "validation"]}
    folders = [BatchFolders(name, tmp_path) for name in sides]
    for each, splits in zip(folders, sides.values(), strict=True):
        count = len(splits)
        hashes = [f"{each.name}{row}" for row in range(count)]
        table = pd.DataFrame({"image": hashes, "patient": hashes, "split": splits, "Mass": np.int8(0)})
        table = table.assign(content_hash=hashes, width=8, height=8, row=range(count), synthetic=False)
        if each.name == "b":
            table.loc[[1, 2], "content_hash"] = ["a2", "a3"]
        for folder in (each.prepared, each.decoded):
            folder.mkdir(parents=True)
        table.assign(patient_known=True).to_parquet(each.prepared / STUDIES, row_group_size=2)
        np.save(each.decoded / IMAGES, np.zeros((count, 8, 8), np.uint8))
    whole = load_dataset(folders)
    assert whole.studies["content_hash"].tolist() == ["a0", "a1", "a2", "a3", "a4", "b0", "b3"]
    assert whole.known["reason"].tolist() == ["already in batch a as a2", "already in batch a as a3"]
    for side in SPLITS:
        pd.testing.assert_frame_equal(load_dataset(folders, side).studies, whole.split(side).studies)
    assert load_dataset(folders, "validation", "test").studies["content_hash"].tolist() == ["a1", "a3", "b0", "b3"]
    assert load_dataset(folders[:1], "validation").findings == ("Mass",)


def test_labels_with_an_empty_cell_are_refused(tmp_path: Path) -> None:
    folders = prepared(tmp_path, "a", {"Mass": [0, 1]})
    table = pd.read_parquet(folders.prepared / STUDIES)
    table.assign(Mass=table["Mass"].astype("Int8").mask([True, False])).to_parquet(folders.prepared / STUDIES)
    with pytest.raises(UserError, match=r"batch a is prepared with .*: run dvc repro"):
        load_dataset([folders])


def test_the_digest_tells_findings_apart_and_stays_what_it_was_for_those_of_nih(dataset: Dataset) -> None:
    lines = ["".join([study["content_hash"], *(str(study[name]) for name in FINDINGS)])
             for _, study in dataset.studies.iterrows()]  # fmt: skip
    assert dataset.digest == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    renamed = Dataset(dataset.studies.rename(columns={"Hernia": "Tuberculosis"}), dataset.images)
    fewer = Dataset(dataset.studies.drop(columns="Hernia"), dataset.images)
    assert len({dataset.digest, renamed.digest, fewer.digest}) == 3
