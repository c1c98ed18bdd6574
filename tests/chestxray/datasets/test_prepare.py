"""Preparing a batch: right pixels, every kind of bad input accounted for, nothing half-written."""

import hashlib
import io
import os
import resource
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from pydicom import uid

from chestxray.batch_layout import BOX_HEADER, BOXES, TABLE
from chestxray.datasets import decode as decoding
from chestxray.datasets.batch import read_batch
from chestxray.datasets.dataset import BatchFolders, load_boxes, load_dataset, read_studies
from chestxray.datasets.prepare import BatchError
from chestxray.datasets.split import SplitError, patient_split
from chestxray.findings import NIH_VOCABULARY
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.params import PrepareParams, load_params
from tests.dicom_files import dicom
from tests.nih_batch import noise, plain_batch, png, write_batch
from tests.prepared_batch import prepare
from tests.repository import TOP

PARAMS = PrepareParams(size=32, views="frontal", max_rejected=0.0, test=0.25, validation=0.25, salt="s")
LENIENT = PARAMS.model_copy(update={"max_rejected": 0.9})


@pytest.fixture
def b(tmp_path: Path) -> BatchFolders:
    return BatchFolders("b", tmp_path / "data")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_images_are_the_decoded_files_in_the_order_of_the_table(tmp_path: Path, b: BatchFolders) -> None:
    root = plain_batch(tmp_path / "raw")
    prepare(root, b, PARAMS)
    images = np.load(b.decoded / "images.npy", mmap_mode="r")
    studies = read_studies(b)
    assert images.shape == (12, 32, 32) and images.dtype == np.uint8
    for image, row in zip(studies["image"], images, strict=True):
        assert np.array_equal(row, resize(decode((root / "images" / image).read_bytes()).pixels, 32))
    assert studies["Mass"].sum() == 6
    assert set(studies["split"]) <= {"train", "validation", "test"}


def test_every_bad_input_is_a_line_with_its_reason_and_work_goes_on(tmp_path: Path, b: BatchFolders) -> None:
    good = png(noise(1))
    names = {
        "good": "00000001_000.png", "text": "00000002_000.png", "truncated": "00000003_000.png",
        "missing": "00000004_000.png", "unknown": "00000005_000.png", "orphan": "00000006_000.png",
    }  # fmt: skip
    rows = [
        (names[n], "No Finding|Mass" if n == "unknown" else "Mass", i) for i, n in enumerate(names) if n != "orphan"
    ]
    files = dict.fromkeys(names.values(), good) | {names["text"]: b"text", names["truncated"]: good[:-900]}
    del files[names["missing"]]
    root = write_batch(tmp_path / "raw", [*rows, rows[0]], files)
    rejected = prepare(root, b, LENIENT).set_index("image")["reason"]
    assert "neither PNG, JPEG" in rejected[names["text"]]
    assert "damaged" in rejected[names["truncated"]]
    assert "No Finding beside a finding" in rejected[names["unknown"]]
    assert "earlier" in rejected[names["good"]] or "duplicate" in rejected[names["good"]]
    assert {names["missing"], names["orphan"]} < set(rejected.index)
    assert len(rejected) == 6
    assert read_studies(b)["image"].tolist() == [names["good"]]
    assert len(pd.read_csv(b.prepared / "rejected.csv")) == 6


def test_too_much_bad_input_stops_with_the_share_and_leaves_nothing(tmp_path: Path, b: BatchFolders) -> None:
    root = plain_batch(tmp_path / "raw")
    (root / "images/00000003_000.png").write_bytes(b"no")
    with pytest.raises(BatchError, match=r"1 of 12 .*prepare.max_rejected \(0.0%\)") as raised:
        prepare(root, b, PARAMS)
    assert raised.value.rejected["image"].tolist() == ["00000003_000.png"]
    assert not b.prepared.parent.exists() and not b.split_file.parent.exists()


def test_nothing_left_is_an_error_however_lenient(tmp_path: Path, b: BatchFolders) -> None:
    root = write_batch(tmp_path / "raw", [("00000001_000.png", "Mass", 1)], {"00000001_000.png": b"no"})
    with pytest.raises(BatchError, match="nothing is left"):
        prepare(root, b, LENIENT)


@pytest.mark.parametrize("text", ["", "Image,Labels\na.png,Mass\n"])
def test_a_bad_or_empty_table_is_said_before_any_work(tmp_path: Path, b: BatchFolders, text: str) -> None:
    root = plain_batch(tmp_path / "raw")
    (root / TABLE).write_text(text)
    with pytest.raises(ValueError, match=TABLE):
        prepare(root, b, LENIENT)
    assert not b.prepared.parent.exists() and not b.split_file.parent.exists()


def test_an_interruption_leaves_the_earlier_output_and_nothing_else(
    tmp_path: Path, b: BatchFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plain_batch(tmp_path / "raw")
    prepare(root, b, PARAMS)
    before = digests(b.decoded)
    calls = iter(range(100))

    def interrupted(pixels: np.ndarray, size: int) -> np.ndarray:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return resize(pixels, size)

    monkeypatch.setattr(decoding, "resize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(root, b, PARAMS)
    assert [path.name for path in b.decoded.parent.iterdir()] == ["b"]
    assert digests(b.decoded) == before


def test_an_image_without_a_suffix_that_no_row_names_is_rejected(tmp_path: Path, b: BatchFolders) -> None:
    files = {f"I{place}": dicom(noise(place)) for place in range(4)} | {"README": b"text", "Thumbs.db": b"\xd0\xcf"}
    root = write_batch(tmp_path / "raw", [(f"I{place}", "Mass", place + 1) for place in range(2)], files)
    rejected = prepare(root, b, LENIENT)
    assert rejected["where"].str.rpartition("/")[2].tolist() == ["I2", "I3"]
    assert rejected["reason"].str.startswith("file without table row").all()
    notes = read_batch(root, NIH_VOCABULARY).notes
    assert any(note.startswith("4 files that no row names are no images by their names, such as ") for note in notes)


def test_dicom_files_prepare_like_any_other(tmp_path: Path, b: BatchFolders) -> None:
    names = ["00000001_000.dcm", "00000002_000.png", "00000003_000.dcm", "00000004_000.dcm"]
    lateral, broken = dicom(noise(3), ViewPosition="LL"), dicom(noise(4))[:-900]
    contents = (dicom(noise(1), uid.JPEGLosslessSV1, WindowCenter=128, WindowWidth=256), png(noise(1)), lateral, broken)
    files = dict(zip(names, contents, strict=True))
    rows = [(name, "Mass", 1 + place // 2) for place, name in enumerate(names)]
    rejected = prepare(write_batch(tmp_path / "raw", rows, files), b, LENIENT)
    reasons = rejected.set_index("image")["reason"]
    assert reasons[names[1]] == f"identical image: the same pixels as {names[0]}"  # the same pixels
    assert "fewer pixels" in reasons[names[3]] and names[0] not in reasons
    assert np.array_equal(np.load(b.decoded / "images.npy")[0], resize(noise(1), 32))


def test_same_input_same_bytes_on_any_number_of_cores(
    tmp_path: Path, b: BatchFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plain_batch(tmp_path / "raw", 40)
    results = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        prepare(root, b, LENIENT)
        results.append(digests(b.decoded) | digests(b.prepared) | digests(b.split_file.parent))
        shutil.rmtree(b.data)
    assert results[0] == results[1] == results[2]


def test_the_memory_of_one_image_serves_the_next(
    tmp_path: Path, b: BatchFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # each of more threads would need its own
    rows = [(f"{place:08d}_000.png", "Mass", place) for place in range(1, 13)]
    root = write_batch(tmp_path / "raw", rows, {row[0]: png(noise(row[2], (1024, 1024))) for row in rows})
    for _ in range(3):  # so that each thread has had an image
        prepare(root, b, PARAMS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    prepare(root, b, PARAMS)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert pages * resource.getpagesize() < len(rows) * 1024 * 1024  # of which each takes several times as much


def test_boxes_are_in_prepared_pixels_also_of_oblong_images(tmp_path: Path, b: BatchFolders) -> None:
    name = "00000001_000.png"
    root = write_batch(tmp_path / "raw", [(name, "Mass", 1)], {name: png(noise(1, (64, 128)))})
    (root / "BBox_List_2017.csv").write_text(f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{name},Mass,32,16,64,8\n")
    prepare(root, b, LENIENT)
    box = load_boxes([b]).iloc[0]
    assert box[["x", "y", "w", "h"]].tolist() == [8.0, 8.0, 16.0, 4.0]


def boxed(root: Path, side: int, boxes: list[str], count: int = 12) -> Path:
    """A batch of square images, and boxes `x,y,w,h` in the first ones."""
    rows = [(f"{number:08d}_000.png", "Mass", number) for number in range(1, count + 1)]
    write_batch(root, rows, {name: png(noise(patient, (side, side))) for name, _, patient in rows})
    lines = [f"{name},Mass,{box},,," for (name, _, _), box in zip(rows, boxes, strict=False)]
    (root / BOXES).write_text("\n".join([f"{BOX_HEADER},,,", *lines]) + "\n")
    return root


def test_a_box_beyond_its_image_is_rejected_and_the_others_stay(tmp_path: Path, b: BatchFolders) -> None:
    boxes = ["8,8,16,16", "39,39,1,1", "0,0,40,40.5", *["4,4,4,4"] * 18, "30,30,12,4"]
    rejected = prepare(boxed(tmp_path / "raw", 40, boxes, 22), b, LENIENT)
    assert rejected["where"].tolist() == [f"{BOXES} row 23"]
    assert rejected["reason"].tolist() == ["box: it reaches beyond its image"]
    placed = load_boxes([b])
    assert len(placed) == 21 and placed.loc[0, ["x", "y", "w", "h"]].tolist() == pytest.approx([6.4, 6.4, 12.8, 12.8])


def test_boxes_in_pixels_of_another_size_are_rejected_though_some_would_fit(tmp_path: Path, b: BatchFolders) -> None:
    root = boxed(tmp_path / "raw", 40, ["8,8,16,16", "100,100,30,30", "1,1,5,5"])
    with pytest.raises(BatchError, match=r"3 of 15 entries .*1 of 3 boxes of the batch reach beyond"):
        prepare(root, b, PARAMS)
    rejected = prepare(root, b, LENIENT)
    assert len(rejected) == 3 and load_boxes([b]).empty


def test_nihs_own_boxes_are_in_pixels_of_its_images_whatever_the_size_of_the_copies(
    tmp_path: Path, b: BatchFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = boxed(tmp_path / "raw", 40, ["512,256,128,64", "8,8,16,16", "0,0,512,512"])
    (root / "images/00000003_000.png").write_bytes(png(noise(3, (40, 36))))
    digest = hashlib.sha256((root / BOXES).read_bytes()).hexdigest()
    monkeypatch.setattr("chestxray.datasets.tables.boxes.NIH_BOXES_SHA256", digest)
    rejected = prepare(root, b, LENIENT)
    assert load_boxes([b])[["x", "y", "w", "h"]].to_numpy().tolist() == [[16, 8, 4, 2], [0.25, 0.25, 0.5, 0.5]]
    assert rejected["reason"].str.contains("this image is not square").tolist() == [True]
    assert any("NIH's own" in note for note in read_batch(root, NIH_VOCABULARY).notes)


def test_boxes_as_nih_publishes_them_fit_the_sample_of_its_images(
    tmp_path: Path, b: BatchFolders, shared: Path
) -> None:
    names = [line.split(",")[0] for line in (shared / "nih-tables" / BOXES).read_text().splitlines()[1:20]]
    rows = [(name, "Mass", int(name[:8])) for name in dict.fromkeys(names)]
    root = write_batch(tmp_path / "raw", rows, {name: png(noise(patient, (64, 64))) for name, _, patient in rows})
    shutil.copy(shared / "nih-tables" / BOXES, root)
    assert prepare(root, b, LENIENT).empty
    boxes = load_boxes([b])
    assert len(boxes) == 19 and (boxes["x"] + boxes["w"]).between(1, 32).all()


def turned(orientation: int) -> bytes:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(noise(orientation)).save(stream, "PNG", exif=exif)
    return stream.getvalue()


def test_boxes_of_images_that_are_turned_upright_are_left_out(tmp_path: Path, b: BatchFolders) -> None:
    files = {"1.png": turned(1), "2.png": turned(6), "3.dcm": dicom(noise(3), PatientOrientation=["R", "F"])}
    files["4.dcm"] = dicom(noise(4), PatientOrientation=["L", "F"])
    root = write_batch(tmp_path / "raw", [(name, "Mass", place) for place, name in enumerate(files)], files)
    lines = [f"{name},Mass,1,1,5,5,,," for name in files]
    (root / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *lines]))
    rejected = prepare(root, b, PARAMS)
    assert load_boxes([b])["image"].tolist() == ["1.png", "4.dcm"]
    assert rejected["image"].tolist() == ["2.png", "3.dcm"]
    assert rejected["reason"].str.startswith("box left out: its image was turned upright").all()


def test_patients_of_the_official_list_are_test_and_no_others(tmp_path: Path, b: BatchFolders) -> None:
    root = plain_batch(tmp_path / "raw", 30)
    (root / "test_list.txt").write_text("00000003_000.png\n00000007_000.png")
    prepare(root, b, PARAMS)
    studies = load_dataset([b]).studies
    assert set(studies.loc[studies["split"] == "test", "patient"]) == {"3", "7"}


def test_identical_images_on_two_sides_stop_the_run_and_are_named(tmp_path: Path, b: BatchFolders) -> None:
    splits = {str(p): patient_split(str(p), PARAMS, None) for p in range(1, 40)}
    one = next(p for p, split in splits.items() if split == "train")
    other = next(p for p, split in splits.items() if split == "test")
    rows = [("00000001_000.png", "Mass", int(one)), ("00000002_000.png", "Mass", int(other))]
    # The same pixels in another encoding: red, green and blue instead of grey.
    coloured = png(np.dstack([noise(1)] * 3))
    root = write_batch(tmp_path / "raw", rows, {rows[0][0]: png(noise(1)), rows[1][0]: coloured})
    with pytest.raises(SplitError, match=r"00000001_000.png, 00000002_000.png"):
        prepare(root, b, PARAMS)
    assert not b.prepared.parent.exists() and not b.split_file.parent.exists()


def encodings(pixels: np.ndarray) -> dict[str, bytes]:
    """The same picture in other files."""
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG", compress_level=0)
    opaque = np.dstack([pixels] * 3 + [np.full_like(pixels, 255)])
    return {"stored": stored.getvalue(), "RGBA": png(opaque), "16 bits": png(pixels.astype(np.uint16) * 257)}


@pytest.mark.parametrize("encoding", ["stored", "RGBA", "16 bits"])
def test_an_image_that_comes_again_under_another_name_and_encoding_counts_once(
    tmp_path: Path, b: BatchFolders, encoding: str
) -> None:
    again = encodings(noise(1))[encoding]
    assert again != png(noise(1))
    rows = [("00000001_000.png", "Mass", 1), ("00000001_001.png", "Mass", 1), ("00000001_002.png", "Hernia", 1)]
    files = {rows[0][0]: png(noise(1)), rows[1][0]: png(noise(2)), rows[2][0]: again}
    rejected = prepare(write_batch(tmp_path / "raw", rows, files), b, LENIENT)
    assert rejected[["image", "reason"]].to_numpy().tolist() == [
        [rows[2][0], f"identical image: the same pixels as {rows[0][0]}"]
    ]
    dataset = load_dataset([b])
    assert dataset.studies["image"].tolist() == [rows[0][0], rows[1][0]]
    assert len(np.load(b.decoded / "images.npy", mmap_mode="r")) == 2
    other = write_batch(tmp_path / "raw2", [("00000001_009.png", "Mass", 1)], {"00000001_009.png": again})
    b2 = BatchFolders("b2", b.data)
    prepare(other, b2, PARAMS)
    both = load_dataset([b, b2])
    assert both.known.to_numpy().tolist() == [["b2", "00000001_009.png", f"already in batch b as {rows[0][0]}"]]
    assert both.studies.equals(dataset.studies)


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(3)), st.lists(st.sets(st.integers(0, 7), min_size=1), min_size=3, max_size=3))
def test_each_image_is_the_first_batchs_that_has_it(order: list[int], contents: list[set[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for batch, images in enumerate(contents):
            rows = [(f"{image:08d}_00{batch}.png", "Mass", image + 1) for image in sorted(images)]
            files = {row[0]: png(noise(image)) for row, image in zip(rows, sorted(images), strict=True)}
            prepare(
                write_batch(Path(folder, f"raw{batch}"), rows, files), BatchFolders(f"b{batch}", Path(folder)), PARAMS
            )
        dataset = load_dataset([BatchFolders(f"b{batch}", Path(folder)) for batch in order])
        expected, known = [], 0
        for batch in order:
            new = [image for image in sorted(contents[batch]) if image not in {e[0] for e in expected}]
            known += len(contents[batch]) - len(new)
            expected += [(image, f"b{batch}") for image in new]
        assert dataset.studies["batch"].tolist() == [batch for _, batch in expected]
        assert len(dataset.known) == known
        for index, (image, _) in enumerate(expected):
            assert np.array_equal(dataset.pixels(index), resize(noise(image), 32))


def test_a_patient_on_two_sides_of_two_batches_stops_the_run(tmp_path: Path, b: BatchFolders) -> None:
    b2 = BatchFolders("b2", b.data)
    prepare(plain_batch(tmp_path / "raw1"), b, PARAMS)
    other = write_batch(tmp_path / "raw2", [("00000099_000.png", "Mass", 5)], {"00000099_000.png": png(noise(99))})
    official = "" if patient_split("5", PARAMS, None) == "test" else "00000099_000.png"
    (other / "test_list.txt").write_text(official)
    prepare(other, b2, PARAMS)
    with pytest.raises(SplitError, match="1 patients on two sides of the split, with the images"):
        load_dataset([b, b2])


def test_real_radiographs_prepare_without_a_rejection(tmp_path: Path, b: BatchFolders, shared: Path) -> None:
    params = load_params(TOP / "params.yaml").prepare
    rejected = prepare(shared / "nih-originals", b, params)
    dataset = load_dataset([b])
    assert len(rejected) == 0 and len(dataset.studies) == 24
    assert dataset.studies["width"].eq(1024).all() and not dataset.synthetic
