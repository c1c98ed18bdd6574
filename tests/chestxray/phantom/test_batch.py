"""A written batch: its layout, the same bytes again, whole or not at all."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from chestxray.datasets.batch import read_batch
from chestxray.findings import FINDINGS, NIH_VOCABULARY, NO_FINDING
from chestxray.params import PhantomParams
from chestxray.phantom import batch as phantom
from chestxray.phantom.batch import write_batch, write_update
from chestxray.phantom.cohort import Patient
from chestxray.phantom.site import Site
from tests.chestxray.phantom.drawing import TINY

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "phantom"
    write_batch(root, TINY, workers=1)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def table(path: Path) -> tuple[str, list[list[str]]]:
    with path.open(newline="") as lines:
        header = lines.readline().rstrip("\n")
        return header, list(csv.reader(lines))


class TestLayout:
    def test_table_of_entries_is_the_official_one(self, batch: Path) -> None:
        header, rows = table(batch / "Data_Entry_2017_v2020.csv")
        assert header == HEADER
        assert len(rows) == 40
        assert len({row[3] for row in rows}) == 25
        for name, labels, followup, patient, age, sex, view, width, height, dx, dy in rows:
            assert name == f"{int(patient):08d}_{int(followup):03d}.png"
            assert labels == NO_FINDING or set(labels.split("|")) <= set(FINDINGS)
            assert 18 <= int(age) <= 94
            assert sex in "MF"
            assert view in ("PA", "AP")
            assert (width, height) == ("64", "64")
            assert float(dx) == float(dy) == 400 / 64

    def test_images_are_grey_and_each_has_its_row(self, batch: Path) -> None:
        _, rows = table(batch / "Data_Entry_2017_v2020.csv")
        assert {path.name for path in (batch / "images").iterdir()} == {row[0] for row in rows}
        for row in rows:
            image = cv2.imread(str(batch / "images" / row[0]), cv2.IMREAD_UNCHANGED)
            assert image.shape == (64, 64)
            assert image.dtype == np.uint8
            assert image.std() > 20

    def test_boxes_lie_inside_images_that_are_labelled_so(self, batch: Path) -> None:
        header, rows = table(batch / "BBox_List_2017.csv")
        assert header == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
        labels = {row[0]: row[1].split("|") for row in table(batch / "Data_Entry_2017_v2020.csv")[1]}
        assert rows
        for row in rows:
            image, finding, numbers = row[0], row[1], row[2:6]
            x, y, w, h = map(float, numbers)
            assert row[6:] == ["", "", ""] or len(row) == 9
            assert finding.replace("Infiltrate", "Infiltration") in labels[image]
            assert 0 <= x < x + w <= 64
            assert 0 <= y < y + h <= 64

    def test_the_reader_of_batches_takes_all_of_it(self, batch: Path) -> None:
        read = read_batch(batch, NIH_VOCABULARY)
        assert read.rejected.empty
        assert len(read.studies) == 40
        assert read.synthetic

    def test_it_says_that_it_is_synthetic_and_not_for_care(self, batch: Path) -> None:
        (note,) = batch.glob("*.txt")
        assert "synthetic" in note.read_text().lower()
        assert "not a medical device" in note.read_text()


class TestWriting:
    def test_same_bytes_on_two_processes(self, batch: Path, tmp_path: Path) -> None:
        write_batch(tmp_path / "again", TINY, workers=2)
        assert contents(tmp_path / "again") == contents(batch)

    def test_another_seed_makes_other_pictures(self, batch: Path, tmp_path: Path) -> None:
        write_batch(tmp_path / "other", TINY.model_copy(update={"seed": 4}), workers=1)
        same = contents(batch).items() & contents(tmp_path / "other").items()
        assert {name for name, _ in same} == {"SYNTHETIC.txt"}

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_an_interruption_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        (tmp_path / "phantom").mkdir()
        (tmp_path / "phantom" / "old").write_text("kept")
        write, drawn = phantom.write_patient, []

        def interrupted(images: Path, site: Site, params: PhantomParams, patient: Patient) -> phantom.TableLines:
            if len(drawn) == 3:
                raise error
            drawn.append(patient)
            return write(images, site, params, patient)

        monkeypatch.setattr(phantom, "write_patient", interrupted)
        with pytest.raises(error):
            write_batch(tmp_path / "phantom", TINY, workers=1)
        assert contents(tmp_path) == {"phantom/old": b"kept"}

    def test_a_new_batch_replaces_the_old_and_the_debris_of_a_killed_run(self, batch: Path, tmp_path: Path) -> None:
        for name in ("phantom", ".phantom.partial"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "old").write_text("old")
        write_batch(tmp_path / "phantom", TINY, workers=1)
        assert [path.name for path in tmp_path.iterdir()] == ["phantom"]
        assert contents(tmp_path / "phantom") == contents(batch)

    def test_the_names_of_the_update_collide_with_none_and_its_bytes_are_the_same_again(
        self, batch: Path, tmp_path: Path
    ) -> None:
        for name, workers in (("update", 1), ("again", 2)):
            write_update(tmp_path / name, TINY, workers)
        assert contents(tmp_path / "update") == contents(tmp_path / "again")
        read = read_batch(tmp_path / "update", NIH_VOCABULARY)
        assert len(read.studies) == 30 and read.synthetic and read.rejected.empty and len(read.boxes)
        assert not set(read.studies["image"]) & set(read_batch(batch, NIH_VOCABULARY).studies["image"])


def test_a_shortcut_makes_the_images_of_its_finding_smaller_and_leaves_all_others_as_they_are(
    batch: Path, tmp_path: Path
) -> None:
    write_batch(tmp_path / "phantom", TINY.model_copy(update={"shortcut": 1.0}), workers=1)
    (_, before), (_, after) = (table(root / "Data_Entry_2017_v2020.csv") for root in (batch, tmp_path / "phantom"))
    small = [row for row in after if "Pneumothorax" in row[1]]
    assert small and all(row[7:9] == ["48", "48"] and float(row[9]) == 400 / 48 for row in small)
    assert [row for row in after if row not in small] == [row for row in before if "Pneumothorax" not in row[1]]
    for row in after:
        image = tmp_path / "phantom" / "images" / row[0]
        assert cv2.imread(str(image)).shape[:2] == (int(row[8]), int(row[7]))
        assert row in small or image.read_bytes() == (batch / "images" / row[0]).read_bytes()
