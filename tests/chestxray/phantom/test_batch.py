"""Phantoms: layout on disk, cohort, anatomy and the sign of each finding."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from chestxray.datasets.nih import read_batch
from chestxray.findings import FINDINGS, parse_findings
from chestxray.params import PhantomParams, PhantomUpdateParams
from chestxray.phantom import batch as phantom
from chestxray.phantom.anatomy import LEFT, RIGHT, Anatomy, breathed, grown_chest
from chestxray.phantom.canvas import Array, Canvas
from chestxray.phantom.chest import Chest, Shadow, absorption, draw_chest
from chestxray.phantom.cohort import Patient, Study, sample_cohort, sample_update
from chestxray.phantom.lesion import Lesion
from chestxray.phantom.signs import SIGNS
from chestxray.phantom.site import FIRST_SITE, PREVALENCE, Site, other_site

UPDATE = PhantomUpdateParams(studies=30, patients=16, returning=8, portable=0.7, exposure=-0.1, prevalence=0.5)
TINY = PhantomParams(studies=40, patients=25, size=64, difficulty=0.5, seed=3, update=UPDATE)
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "phantom"
    phantom.write_batch(root, TINY, workers=1)
    return root


@pytest.fixture(scope="module")
def cohort() -> list[Patient]:
    return sample_cohort(1200, 800, seed=5)


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
            parse_findings(labels)
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
        read = read_batch(batch)
        assert read.rejected.empty
        assert len(read.studies) == 40
        assert read.synthetic

    def test_it_says_that_it_is_synthetic_and_not_for_care(self, batch: Path) -> None:
        (note,) = batch.glob("*.txt")
        assert "synthetic" in note.read_text().lower()
        assert "not a medical device" in note.read_text()


class TestWriting:
    def test_same_bytes_on_two_processes(self, batch: Path, tmp_path: Path) -> None:
        phantom.write_batch(tmp_path / "again", TINY, workers=2)
        assert contents(tmp_path / "again") == contents(batch)

    def test_another_seed_makes_other_pictures(self, batch: Path, tmp_path: Path) -> None:
        phantom.write_batch(tmp_path / "other", TINY.model_copy(update={"seed": 4}), workers=1)
        same = contents(batch).items() & contents(tmp_path / "other").items()
        assert {name for name, _ in same} == {"SYNTHETIC.txt"}

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_an_interruption_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        (tmp_path / "phantom").mkdir()
        (tmp_path / "phantom" / "old").write_text("kept")
        write, drawn = phantom.write_patient, []

        def interrupted(images: Path, site: Site, params: PhantomParams, patient: Patient) -> phantom.Rows:
            if len(drawn) == 3:
                raise error
            drawn.append(patient)
            return write(images, site, params, patient)

        monkeypatch.setattr(phantom, "write_patient", interrupted)
        with pytest.raises(error):
            phantom.write_batch(tmp_path / "phantom", TINY, workers=1)
        assert contents(tmp_path) == {"phantom/old": b"kept"}

    def test_a_new_batch_replaces_the_old_and_the_debris_of_a_killed_run(self, batch: Path, tmp_path: Path) -> None:
        for name in ("phantom", ".phantom.partial"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "old").write_text("old")
        phantom.write_batch(tmp_path / "phantom", TINY, workers=1)
        assert [path.name for path in tmp_path.iterdir()] == ["phantom"]
        assert contents(tmp_path / "phantom") == contents(batch)


class TestCohort:
    def test_exactly_as_many_studies_and_patients(self, cohort: list[Patient]) -> None:
        assert [patient.number for patient in cohort] == list(range(1, 801))
        visits = [len(patient.studies) for patient in cohort]
        assert sum(visits) == 1200
        assert set(visits) == {1, 2, 3, 4}

    @pytest.mark.parametrize(("studies", "patients"), [(3, 4), (17, 4), (0, 0)])
    def test_studies_that_cannot_be_shared_out(self, studies: int, patients: int) -> None:
        with pytest.raises(ValueError, match="a patient has 1 to 4 studies"):
            sample_cohort(studies, patients, seed=0)

    @pytest.mark.parametrize("seed", range(3))
    def test_prevalences_fall_in_the_order_of_nih(self, seed: int) -> None:
        studies = [study for patient in sample_cohort(1200, 800, seed) for study in patient.studies]
        counts = [sum(name in study.findings for study in studies) for name in PREVALENCE]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] >= 25
        assert 0.45 < np.mean([not study.findings for study in studies]) < 0.6

    @pytest.mark.parametrize(
        "pair", [("Effusion", "Atelectasis"), ("Edema", "Cardiomegaly"), ("Pneumonia", "Consolidation")]
    )
    def test_findings_that_belong_together_meet_more_often(self, pair: tuple[str, str]) -> None:
        patients = [patient for seed in range(5) for patient in sample_cohort(1200, 800, seed)]
        ill = [study.findings for patient in patients for study in patient.studies if study.findings]
        first, second = (np.array([name in findings for findings in ill]) for name in pair)
        assert second[first].mean() > 1.3 * second[~first].mean()

    def test_findings_change_between_followups(self, cohort: list[Patient]) -> None:
        several = [patient for patient in cohort if len(patient.studies) > 1]
        changing = [len({study.findings for study in patient.studies}) > 1 for patient in several]
        assert 0.1 < np.mean(changing) < 0.9


@pytest.fixture(scope="module")
def both(cohort: list[Patient]) -> tuple[list[Patient], list[Patient]]:
    return cohort, sample_update(cohort, 300, 200, 80, other_site(UPDATE), seed=5)


class TestUpdate:
    """The second batch, from another site."""

    def test_those_who_return_are_the_same_and_their_followups_go_on(
        self, both: tuple[list[Patient], list[Patient]]
    ) -> None:
        first, update = {patient.number: patient for patient in both[0]}, both[1]
        back = [patient for patient in update if patient.number in first]
        assert (len(update), len(back), sum(len(patient.studies) for patient in update)) == (200, 80, 300)
        assert [p.number for p in update if p.number not in first] == list(range(801, 921))
        for patient in back:
            known = first[patient.number]
            assert (patient.sex, patient.age) == (known.sex, known.age)
            assert patient.studies[0].followup == len(known.studies)
            assert patient.studies[0].age >= known.studies[-1].age

    def test_more_lie_in_bed_and_are_acutely_ill(self, both: tuple[list[Patient], list[Patient]]) -> None:
        ap, acute, mass = (
            [np.mean([test(study) for patient in batch for study in patient.studies]) for batch in both]
            for test in (
                lambda study: study.view == "AP",
                lambda study: "Effusion" in study.findings,
                lambda study: "Mass" in study.findings,
            )
        )
        assert ap[1] > ap[0] + 0.2 and acute[1] > 1.3 * acute[0] and mass[1] < 0.8 * mass[0]

    def test_a_patient_who_had_a_finding_has_it_more_often_than_others(
        self, both: tuple[list[Patient], list[Patient]]
    ) -> None:
        had = {p.number: {f for study in p.studies for f in study.findings} for p in both[0]}
        now = [(f in study.findings, f in had[p.number])
               for p in both[1] if p.number in had for study in p.studies for f in FINDINGS]  # fmt: skip
        again = np.mean([seen for seen, before in now if before])
        assert again > 2 * np.mean([seen for seen, before in now if not before])

    def test_more_patients_than_there_are_can_not_return(self, cohort: list[Patient]) -> None:
        with pytest.raises(ValueError, match="20 returning of 10 patients"):
            sample_update(cohort, 10, 10, 20, FIRST_SITE, seed=0)

    def test_less_exposure_is_paler_and_grainier_and_the_anatomy_stays(self) -> None:
        patient = Patient(3, "F", 50, (Study(0, 50, "PA", ()),))
        params = TINY.model_copy(update={"size": 256, "difficulty": 0.0})
        images = [
            next(phantom.draw_patient(patient, replace(FIRST_SITE, exposure=shift), params)).image.astype(float)
            for shift in (0.0, -0.08)
        ]
        grain = [np.median(np.abs(image - cv2.GaussianBlur(image, (0, 0), 1.0))) for image in images]
        assert images[1].mean() > images[0].mean() + 3 and grain[1] > 1.1 * grain[0]
        assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.95

    def test_its_names_collide_with_none_and_its_bytes_are_the_same_again(self, batch: Path, tmp_path: Path) -> None:
        for name, workers in (("update", 1), ("again", 2)):
            phantom.write_update(tmp_path / name, TINY, workers)
        assert contents(tmp_path / "update") == contents(tmp_path / "again")
        read = read_batch(tmp_path / "update")
        assert len(read.studies) == 30 and read.synthetic and read.rejected.empty and len(read.boxes)
        assert not set(read.studies["image"]) & set(read_batch(batch).studies["image"])


# The pictures


def anatomy_of(seed: int, sex: str = "M", age: int = 50) -> Anatomy:
    return grown_chest(np.random.default_rng(seed), sex, age)


def upright(size: int = 160) -> Canvas:
    return Canvas.posed(size, zoom=1.0, degrees=0.0, shift=(0.0, 0.0))


def lesion(split: int = RIGHT, strength: float = 0.8, variant: float = 0.2, seed: int = 11) -> Lesion:
    return Lesion(split, strength, variant, seed)


def with_sign(finding: str, what: Lesion, seed: int = 1, size: int = 160) -> tuple[Chest, Shadow]:
    chest = draw_chest(upright(size), SIGNS[finding].deform(anatomy_of(seed), what))
    return chest, SIGNS[finding].cast(chest, what)


def conspicuity(finding: str, what: Lesion) -> float:
    """How much the absorption differs from that of the same chest without the finding."""
    chest, shadow = with_sign(finding, what)
    return float(np.abs(absorption(chest, [shadow]) - absorption(draw_chest(upright(), anatomy_of(1)), [])).mean())


def studies_of(number: int, *views: str, difficulty: float = 0.0) -> list[phantom.Drawing]:
    patient = Patient(number, "MF"[number % 2], 50, tuple(Study(k, 50, view, ()) for k, view in enumerate(views)))
    params = TINY.model_copy(update={"size": 96, "difficulty": difficulty})
    return list(phantom.draw_patient(patient, FIRST_SITE, params))


class TestNormalChest:
    def test_air_is_black_lungs_dark_mediastinum_and_abdomen_bright(self) -> None:
        for seed in range(5):
            chest = draw_chest(upright(), breathed(anatomy_of(seed), "PA", 0.0))
            a, total, (x, y) = chest.anatomy, absorption(chest, []), chest.canvas.grid
            lung = total[(chest.lung > 0.7) & (y < a.hilum + 5)].mean()
            heart = total[(chest.heart > 0.9) & (y > a.hilum) & (y < a.dome_right)].mean()
            abdomen = total[(np.abs(x) < 8) & (y > a.dome_left + 8)].mean()
            air = total[(np.abs(x) > 16) & (y < 3)].mean()
            assert air < lung - 0.2 < lung + 0.3 < heart < abdomen

    def test_the_heart_points_to_the_patients_left_and_the_right_dome_is_higher(self) -> None:
        for seed in range(10):
            a = anatomy_of(seed)
            assert a.heart_left > a.heart_right
            assert a.cardiothoracic_ratio < 0.5
            chest = draw_chest(upright(), a)
            (x, _), heart = chest.canvas.grid, chest.heart > 0.5
            assert np.abs(x[heart & (x > 0)]).max() > np.abs(x[heart & (x < 0)]).max()
        assert np.mean([anatomy_of(seed).dome_right < anatomy_of(seed).dome_left for seed in range(50)]) > 0.9

    def test_a_portable_exposure_magnifies_the_heart_and_lifts_the_diaphragm(self) -> None:
        standing, lying = (breathed(anatomy_of(1), view, 0.0) for view in ("PA", "AP"))
        assert lying.cardiothoracic_ratio > 1.03 * standing.cardiothoracic_ratio
        assert lying.dome_right < standing.dome_right

    def test_a_patient_is_more_like_himself_than_like_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        still = upright(96)
        monkeypatch.setattr(Canvas, "posed", lambda *_: still)
        pairs = [[drawing.image[16:80, 16:80].ravel() for drawing in studies_of(n, "PA", "PA")] for n in range(1, 9)]
        likeness = np.corrcoef([first for first, _ in pairs], [second for _, second in pairs])[:8, 8:]
        assert (likeness.argmax(axis=1) == np.arange(8)).all()

    def test_women_have_breast_shadows(self) -> None:
        woman = replace(anatomy_of(2, "F"), breast=1.0)
        flat = replace(woman, breast=0.0)
        with_breasts, without = (absorption(draw_chest(upright(), a), []) for a in (woman, flat))
        lower = upright().grid[1] > woman.hilum
        assert (with_breasts - without)[lower].max() > 0.05
        assert np.abs(with_breasts - without)[upright().grid[1] < woman.apex].max() < 1e-6


class TestSigns:
    def test_every_finding_has_its_sign(self) -> None:
        assert tuple(SIGNS) == FINDINGS

    @pytest.mark.parametrize("finding", FINDINGS)
    @pytest.mark.parametrize("variant", [0.2, 0.9])
    def test_strength_makes_it_easier_to_see(self, finding: str, variant: float) -> None:
        faint, clear = (conspicuity(finding, lesion(strength=s, variant=variant)) for s in (0.15, 0.95))
        assert clear > 1.3 * faint > 0

    @pytest.mark.parametrize("finding", ["Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"])
    @pytest.mark.parametrize("split", [RIGHT, LEFT])
    def test_its_box_is_on_its_side_and_covers_what_changed(self, finding: str, split: int) -> None:
        chest, shadow = with_sign(finding, lesion(split, variant=0.0))
        change = np.abs(absorption(chest, [shadow]) - absorption(chest, []))
        box = phantom.box_around(shadow.extent)
        assert box is not None
        x, y, w, h = box
        assert (x + w / 2 - 80) * split > 0
        assert change[y : y + h, x : x + w].mean() > 3 * change.mean()

    def test_nothing_seen_no_box(self) -> None:
        assert phantom.box_around(None) is None
        assert phantom.box_around(np.zeros((8, 8), np.float32)) is None

    def test_the_box_is_of_the_largest_part(self) -> None:
        extent: Array = np.zeros((20, 20), np.float32)
        extent[2:4, 2:4] = 1.0
        extent[10:15, 8:16] = 0.9
        extent[18, 18] = 0.2
        assert phantom.box_around(extent) == (8, 10, 8, 5)

    @pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("seed", range(4))
    def test_a_mass_is_three_centimetres_or_more_a_nodule_less(self, strength: float, seed: int) -> None:
        diameters = {}
        for finding in ("Mass", "Nodule"):
            chest, shadow = with_sign(finding, lesion(strength=strength, variant=0.0, seed=seed), size=320)
            assert shadow.extent is not None
            area = np.count_nonzero(shadow.extent > 0.5) / chest.canvas.scale**2
            diameters[finding] = 2 * np.sqrt(area / np.pi)
        assert diameters["Nodule"] < 3 <= diameters["Mass"] < 8

    @pytest.mark.parametrize("strength", [0.0, 1.0])
    def test_cardiomegaly_is_more_than_half_the_chest(self, strength: float) -> None:
        for seed in range(5):
            chest, _ = with_sign("Cardiomegaly", lesion(strength=strength), seed=seed)
            (x, y), a = chest.canvas.grid, chest.anatomy
            rows = (y > a.hilum) & (y < a.dome_left)
            heart, inner = np.ptp(x[rows & (chest.heart > 0.5)]), np.ptp(x[rows & (sum(chest.rim.values()) > 0)])
            assert chest.anatomy.cardiothoracic_ratio > 0.5
            assert heart / inner == pytest.approx(chest.anatomy.cardiothoracic_ratio, abs=0.03)
            assert heart / inner > anatomy_of(seed).cardiothoracic_ratio

    def test_effusion_blunts_the_angle_and_climbs_the_wall(self) -> None:
        chest, shadow = with_sign("Effusion", lesion(LEFT, strength=0.5))
        change, (x, y) = absorption(chest, [shadow]) - absorption(chest, []), chest.canvas.grid
        angle = (chest.lung > 0.3) & (x > 0) & (y > chest.anatomy.dome_left + 2)
        assert change[angle].mean() > 0.2
        assert change[(x < -1) | (y < chest.anatomy.hilum - 4)].max() < 0.02
        assert shadow.opacity is not None
        filled = shadow.opacity > 0.5
        highest = [y[filled & (x > at) & (x < at + 1)].min() for at in (6.0, chest.anatomy.half_width - 2.0)]
        assert highest[1] < highest[0] - 0.5

    def test_no_vessels_beyond_the_pleural_line(self) -> None:
        chest, shadow = with_sign("Pneumothorax", lesion(LEFT, strength=0.9))
        assert shadow.bare is not None
        assert shadow.extent is not None
        beyond = (shadow.bare > 0.99) & (chest.lung > 0.3)
        assert beyond.sum() > 100
        smooth = replace(chest, vessels=np.zeros_like(chest.vessels))
        vessels = absorption(chest, [shadow]) - absorption(smooth, [shadow])
        assert np.abs(vessels[beyond]).max() < 0.01
        assert (absorption(chest, []) - absorption(smooth, []))[beyond].max() > 0.03

    def test_emphysema_has_larger_darker_lungs_and_a_low_flat_diaphragm(self) -> None:
        chest, _ = with_sign("Emphysema", lesion(strength=0.9))
        normal = draw_chest(upright(), anatomy_of(1))
        assert chest.lung.sum() > 1.1 * normal.lung.sum()
        assert chest.anatomy.dome_right > normal.anatomy.dome_right + 1
        assert chest.anatomy.dome_height < 0.7 * normal.anatomy.dome_height

    def test_edema_is_on_both_sides_around_the_hila(self) -> None:
        chest, shadow = with_sign("Edema", lesion(strength=0.9))
        (x, y), opacity = chest.canvas.grid, shadow.opacity
        assert opacity is not None
        near = np.abs(y - chest.anatomy.hilum) < 3
        right, left = (opacity[near & (x * split > 3.5) & (x * split < 8)].mean() for split in (RIGHT, LEFT))
        assert min(right, left) > 0.2
        assert opacity[(y < chest.anatomy.apex + 2)].max() < 0.5 * min(right, left)

    def test_hernia_has_air_above_a_level_behind_the_heart(self) -> None:
        chest, shadow = with_sign("Hernia", lesion(strength=1.0), size=320)
        assert shadow.density is not None
        (x, y), air = chest.canvas.grid, shadow.density < -0.05
        assert abs(x[air].mean()) < chest.anatomy.heart_left
        below = y[air].max()
        flat = np.ptp([y[air & (np.abs(x - x[air].mean() - at) < 0.2)].max() for at in (-1.0, 0.0, 1.0)])
        assert flat < 0.3
        assert (shadow.density[(y > below + 0.2) & (shadow.extent > 0.9)] > 0).all()


class TestDifficulty:
    def test_it_makes_findings_subtler(self) -> None:
        mean = [
            np.mean([phantom.sample_lesion(np.random.default_rng(seed), difficulty).strength for seed in range(200)])
            for difficulty in (0.0, 0.5, 1.0)
        ]
        assert mean[0] == 1.0
        assert mean[0] - 0.2 > mean[1] > mean[2] + 0.2

    def test_without_it_labels_say_what_was_drawn(self) -> None:
        findings = ("Effusion", "Mass")
        patient = Patient(1, "M", 50, (Study(0, 50, "PA", findings),))
        for seed in range(20):
            (drawing,) = phantom.draw_patient(
                patient, FIRST_SITE, TINY.model_copy(update={"difficulty": 0.0, "seed": seed})
            )
            assert drawing.findings == findings
            assert set(drawing.boxes) == set(findings)

    def test_at_its_worst_some_findings_are_missed_and_have_no_box(self) -> None:
        patient = Patient(1, "M", 50, (Study(0, 50, "PA", FINDINGS),))
        missed = 0
        for seed in range(12):
            (drawing,) = phantom.draw_patient(
                patient, FIRST_SITE, TINY.model_copy(update={"difficulty": 1.0, "seed": seed})
            )
            missed += len(FINDINGS) - len(drawing.findings)
            assert set(drawing.boxes) <= set(drawing.findings)
        assert 0.02 < missed / (12 * len(FINDINGS)) < 0.2
