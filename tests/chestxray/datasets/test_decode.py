"""Decoding a batch: every file that may be an image, whatever the table says, once for all that may be asked of it."""

import os
from pathlib import Path

import numpy as np
import pytest

from chestxray.datasets.dataset import BatchFolders, load_dataset, load_images, load_refused, read_studies
from chestxray.datasets.decode import decode_batch
from chestxray.datasets.prepare import prepare_batch
from chestxray.errors import UserError
from chestxray.findings import NIH_VOCABULARY
from chestxray.imaging.radiograph import MAX_FILE_BYTES, resize
from chestxray.params import PrepareParams, ReadingParams
from tests.dicom_files import dicom
from tests.nih_batch import noise, plain_batch, png, write_batch

PARAMS = PrepareParams(size=32, views="frontal", max_rejected=0.9, test=0.25, validation=0.25, salt="s")


@pytest.fixture
def b(tmp_path: Path) -> BatchFolders:
    return BatchFolders("b", tmp_path / "data")


def test_every_file_that_may_be_an_image_is_decoded_in_the_order_of_the_paths(tmp_path: Path, b: BatchFolders) -> None:
    root = plain_batch(tmp_path / "raw", 2)
    (root / "late").mkdir()
    for path, content in {
        "late/stray.PNG": png(noise(5)), "late/1.2.840.7": dicom(noise(6)), "images/again.png": png(noise(1)),
        "late/notes.md": b"# notes", "late/report.TXT": b"text", "late/=1.png": png(noise(7)),
        "late/ankle.dcm": dicom(noise(8), BodyPartExamined="ANKLE"),
    }.items():  # fmt: skip
        (root / path).write_bytes(content)
    os.truncate(root / "late/notes.md", MAX_FILE_BYTES + 1)
    files = decode_batch(root, b.decoded, 32).files.set_index("path")
    assert list(files.index) == [
        "images/00000001_000.png", "images/00000002_000.png", "images/again.png",
        "late/1.2.840.7", "late/ankle.dcm", "late/notes.md", "late/stray.PNG",
    ]  # fmt: skip
    assert files["row"].tolist() == [0, 1, 1, 2, -1, -1, 3]
    assert files["reason"].str.partition(":")[0].tolist() == [
        "", "", "", "", "no chest radiograph", "unreadable image", "",
    ]  # fmt: skip
    assert "larger than" in files.loc["late/notes.md", "reason"]
    images = np.load(b.decoded / "images.npy")
    assert len(images) == 4 and np.array_equal(images[3], resize(noise(5), 32))
    assert {path.name for path in b.decoded.iterdir()} == {"images.npy", "files.parquet", "refused.parquet"}


def test_the_studies_of_a_table_point_into_the_images_of_the_folder(tmp_path: Path, b: BatchFolders) -> None:
    root = plain_batch(tmp_path / "raw", 6)
    (root / "exclude").write_text("00000001_000.png\n00000004_000.png\n")
    decode_batch(root, b.decoded, 32)
    prepare_batch(root, b, PARAMS, NIH_VOCABULARY, ReadingParams(exclude="exclude"))
    dataset, images = load_dataset([b]), load_images(b)
    assert dataset.studies["row"].tolist() == images.studies["row"].tolist() == [1, 2, 4, 5]
    assert images.studies["split"].tolist() == dataset.studies["split"].tolist()
    for index, image in enumerate((1, 2, 4, 5)):
        assert np.array_equal(dataset.pixels(index), resize(noise(image), 32))
        assert np.array_equal(images.pixels(index), dataset.pixels(index))


def test_what_is_asked_of_the_table_later_needs_no_decoding(tmp_path: Path, b: BatchFolders) -> None:
    lateral = dicom(noise(1), ViewPosition="LL")
    files = {"a.png": png(noise(0)), "l.dcm": lateral, "blank.png": png(np.full((40, 40), 9, np.uint8))}
    root = write_batch(tmp_path / "raw", [(name, "Mass", place) for place, name in enumerate(files)], files)
    decode_batch(root, b.decoded, 32)
    for image in files:
        (root / "images" / image).write_bytes(b"")  # only the names are looked at
    rejected = prepare_batch(root, b, PARAMS, NIH_VOCABULARY)
    assert rejected["image"].tolist() == ["l.dcm"] and rejected["reason"].str.startswith("not frontal: ").all()
    assert rejected["where"].tolist() == ["images/l.dcm"]
    refused = load_refused([b])
    assert set(refused["image"]) == {"blank.png"} and set(refused["batch"]) == {"b"}
    everything = PARAMS.model_copy(update={"views": "all"})
    assert prepare_batch(root, b, everything, NIH_VOCABULARY).empty
    assert read_studies(b.prepared)["image"].tolist() == ["a.png", "blank.png", "l.dcm"]


def test_of_identical_images_the_first_of_the_table_counts_not_of_the_folder(tmp_path: Path, b: BatchFolders) -> None:
    rows = [("a.png", "Mass", 1), ("z.png", "Hernia", 1)]
    root = write_batch(tmp_path / "raw", rows, dict.fromkeys(("a.png", "z.png"), png(noise(0))))
    (root / "images/0").mkdir()
    (root / "images/a.png").rename(root / "images/0/zz.png")
    table = root / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("a.png", "zz.png"))
    decode_batch(root, b.decoded, 32)
    rejected = prepare_batch(root, b, PARAMS, NIH_VOCABULARY)
    assert rejected["reason"].tolist() == ["identical image: the same pixels as z.png"]
    assert read_studies(b.prepared)[["image", "row"]].to_numpy().tolist() == [["z.png", 0]]


def test_a_file_that_came_after_decoding_is_not_passed_over(tmp_path: Path, b: BatchFolders) -> None:
    root = plain_batch(tmp_path / "raw", 3)
    with pytest.raises(UserError, match=r"batch b is not decoded.*run dvc repro"):
        prepare_batch(root, b, PARAMS, NIH_VOCABULARY)
    (root / "images/00000002_000.png").rename(tmp_path / "later.png")
    decode_batch(root, b.decoded, 32)
    (tmp_path / "later.png").rename(root / "images/00000002_000.png")
    with pytest.raises(UserError, match=r"1 images are not decoded, such as images/00000002_000\.png: run dvc repro"):
        prepare_batch(root, b, PARAMS, NIH_VOCABULARY)


@pytest.mark.parametrize("images", [(), ("labels.csv", "report.txt")])
def test_a_folder_without_images_is_refused(images: tuple[str, ...], tmp_path: Path, b: BatchFolders) -> None:
    with pytest.raises(UserError, match="no such batch folder"):
        decode_batch(tmp_path / "raw", b.decoded, 32)
    (tmp_path / "raw").mkdir()
    for name in images:
        (tmp_path / "raw" / name).write_text("text")
    with pytest.raises(UserError, match=r"no image in .*raw: put the images there"):
        decode_batch(tmp_path / "raw", b.decoded, 32)
    assert not b.decoded.exists()
