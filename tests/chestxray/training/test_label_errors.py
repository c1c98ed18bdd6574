"""Labels that are wrong are found among those that the head, fitted without their patients, contradicts."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_fold
from chestxray.findings import UNLABELLED
from chestxray.params import TrainParams
from chestxray.phantom.cohort import Patient, Study
from chestxray.phantom.site import FIRST_SITE
from chestxray.phantom.study import draw_patient
from chestxray.training import label_errors as label_errors_module
from chestxray.training.features import Features
from chestxray.training.label_errors import contradict, find_label_errors
from chestxray.training.linear_head import fit_head, head_logits
from tests.chestxray.phantom.drawing import TINY

PARAMS = TrainParams(l2=1.0, folds=3, warm_start=None, shared=0.0)
MIN_POSITIVES = 5
NAMES = ("Cardiomegaly", "Effusion")


def odds(probability: np.ndarray) -> np.ndarray:
    return np.log(probability / (1 - probability))


def test_errors_that_hang_on_the_class_alone_are_found_and_counted_exactly() -> None:
    """Theorem 1 of the paper: a model that says P(label | class) of each image."""
    rng = np.random.default_rng(0)
    truth = np.arange(4000) < 800
    wrong = np.zeros(4000, bool)
    wrong[rng.choice(800, 240, replace=False)] = wrong[800 + rng.choice(3200, 160, replace=False)] = True
    found = contradict(odds(np.where(truth, 560 / 800, 160 / 3200)), truth != wrong)
    np.testing.assert_array_equal(found.contradicted, wrong)
    np.testing.assert_array_equal(found.margin < 0, wrong)


def test_a_model_that_is_sure_of_all_labels_contradicts_none() -> None:
    present = np.arange(50) < 20
    found = contradict(odds(np.where(present, 0.9, 0.2)), present)
    assert not found.contradicted.any() and (found.margin > 0).all()


def test_of_two_classes_that_a_model_is_sure_of_the_likelier_counts() -> None:
    """A model that is no better than chance: the mean probability of those with the label is not above the others'."""
    probability = np.array([0.3, 0.6, 0.3, 0.6, 0.55])
    found = contradict(odds(probability), np.array([True, True, False, False, False]))
    assert found.contradicted.tolist() == [True, False, False, True, True]


@dataclass(frozen=True)
class Planted:
    """Training images of which some labels are wrong, and their features."""

    train: Dataset
    wrong: pd.DataFrame
    features: Features

    def log_odds(self, l2: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        """By fits without the patient, and by the one with all."""
        head = fit_head(self.features, np.full(2, 2.0), PARAMS.model_copy(update={"l2": l2}))
        both = head.held_out, head_logits(self.features, head.weights) - np.log(2.0)
        held_out, in_training = (pd.DataFrame(each, columns=list(NAMES)) for each in both)
        return held_out, in_training

    def found(self, odds: pd.DataFrame) -> dict[str, float]:
        """The share of wrong labels among the first, as many as are wrong; it is their recall too."""
        shares = {}
        for name in NAMES:
            wrong = self.wrong[name].to_numpy()
            order = contradict(odds[name].to_numpy(float), self.train.studies[name].to_numpy() == 1).margin.argsort()
            shares[name] = wrong[order[: wrong.sum()]].mean()
        return shares


@pytest.fixture(scope="module")
def planted() -> Planted:
    """Phantoms whose pixels are the features; 15 % of the labels of either kind are wrong."""
    params = TINY.model_copy(update={"difficulty": 0.0, "size": 32})
    rng = np.random.default_rng(0)
    rows, pixels = [], []
    for number in range(160):
        shown = [tuple(name for name in NAMES if rng.random() < 0.3) for _ in range(1 + number % 2)]
        studies = tuple(Study(place, 50, "PA", findings) for place, findings in enumerate(shown))
        for study, drawing in zip(
            studies, draw_patient(Patient(number, "M", 50, studies), FIRST_SITE, params), strict=True
        ):
            rows.append((f"{number}_{study.followup}.png", str(number), *(name in drawing.findings for name in NAMES)))
            pixels.append(cv2.resize(drawing.image, (16, 16), interpolation=cv2.INTER_AREA).ravel() / 64)
    studies = pd.DataFrame(rows, columns=["image", "patient", *NAMES]).assign(batch="b", synthetic=True)
    wrong = pd.DataFrame(False, studies.index, list(NAMES))
    for name in NAMES:
        for _, images in studies.groupby(name):
            wrong.loc[rng.choice(images.index, round(0.15 * len(images)), replace=False), name] = True
    studies[list(NAMES)] = (studies[list(NAMES)] != wrong).astype(np.int8)
    features = np.stack(pixels)[:, None].astype(np.float16)
    return Planted(Dataset(studies, {}), wrong, Features([features], [], [np.arange(len(features))], studies))


@pytest.fixture(scope="module")
def held_out(planted: Planted) -> pd.DataFrame:
    return planted.log_odds(0.3)[0]


def test_wrong_labels_of_phantoms_come_first(planted: Planted, held_out: pd.DataFrame) -> None:
    found = planted.found(held_out)
    assert found["Cardiomegaly"] > 0.55 and found["Effusion"] > 0.4
    listed = find_label_errors(planted.train, held_out, PARAMS.folds, MIN_POSITIVES).listed
    wrong = planted.wrong.set_index(planted.train.studies["image"])
    hits = np.array(
        [wrong.loc[image, finding] for image, finding in zip(listed["image"], listed["finding"], strict=True)]
    )
    assert hits[:20].mean() > 0.45 and hits.sum() > 0.5 * planted.wrong.to_numpy().sum()


def test_a_fit_that_has_learned_the_labels_by_heart_finds_fewer(planted: Planted) -> None:
    held_out, in_training = planted.log_odds(0.001)
    assert sum(planted.found(held_out).values()) > 1.2 * sum(planted.found(in_training).values())


def test_the_labels_of_a_patient_have_no_say_in_what_is_thought_of_them(planted: Planted) -> None:
    studies = planted.train.studies.copy()
    mine = (studies["patient"] == "7").to_numpy()
    studies.loc[mine, list(NAMES)] = 1 - studies.loc[mine, list(NAMES)]
    other = replace(planted, features=replace(planted.features, studies=studies))
    before, after = (each.log_odds(1.0)[0].to_numpy() for each in (planted, other))
    np.testing.assert_allclose(after[mine], before[mine], atol=0.05)
    assert np.abs(after - before)[~mine].max() > 0.1


def test_the_file_says_of_which_image_which_label_is_contradicted(planted: Planted, held_out: pd.DataFrame) -> None:
    studies = planted.train.studies.set_index("image")
    errors = find_label_errors(planted.train, held_out, PARAMS.folds, MIN_POSITIVES)
    listed = errors.listed
    assert list(listed["rank"]) == list(range(1, len(listed) + 1)) and listed["margin"].is_monotonic_increasing
    assert listed["synthetic"].all() and set(listed["label"]) == {0, 1}
    for row in listed.itertuples():
        assert (row.patient, row.label) == (studies.loc[row.image, "patient"], studies.loc[row.image, row.finding])
        image = int(np.flatnonzero(planted.train.studies["image"] == row.image)[0])
        assert row.probability == pytest.approx(1 / (1 + np.exp(-held_out.loc[image, row.finding])), abs=1e-6)
    for row in errors.by_finding.itertuples():
        counts = listed.loc[listed["finding"] == row.finding, "label"].value_counts()
        assert (counts[1], counts[0]) == (row.contradicted_present, row.contradicted_absent)
        assert row.listed == counts.sum() and row.ci_low < row.auroc < row.ci_high
    again = find_label_errors(planted.train, held_out, PARAMS.folds, MIN_POSITIVES)
    assert again.listed.equals(listed) and again.by_finding.equals(errors.by_finding)


def test_of_many_the_worst_of_either_label_are_listed(
    planted: Planted, held_out: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_label_errors(planted.train, held_out, PARAMS.folds, MIN_POSITIVES)
    monkeypatch.setattr(label_errors_module, "MOST_ROWS", 4)
    short = find_label_errors(planted.train, held_out, PARAMS.folds, MIN_POSITIVES)
    firsts = whole.listed.groupby(["finding", "label"]).head(4)
    pd.testing.assert_frame_equal(short.listed.drop(columns="rank"), firsts.drop(columns="rank").reset_index(drop=True))
    counts = ["contradicted_present", "contradicted_absent"]
    assert short.by_finding[counts].equals(whole.by_finding[counts]) and set(short.by_finding["listed"]) == {8}


def test_an_image_without_a_label_is_as_if_it_were_not_there(planted: Planted, held_out: pd.DataFrame) -> None:
    hidden = np.arange(len(held_out)) % 3 == 0
    studies = planted.train.studies.copy()
    studies.loc[hidden, "Effusion"] = UNLABELLED
    partial = find_label_errors(Dataset(studies, {}), held_out, PARAMS.folds, MIN_POSITIVES)
    kept = Dataset(planted.train.studies[~hidden].reset_index(drop=True), {})
    part = find_label_errors(kept, held_out[~hidden].reset_index(drop=True), PARAMS.folds, MIN_POSITIVES)
    one, other = (each.listed[each.listed["finding"] == "Effusion"].drop(columns="rank") for each in (partial, part))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_findings_of_which_the_head_knows_nothing_are_left_out_and_it_is_said(
    planted: Planted, held_out: pd.DataFrame
) -> None:
    images = np.arange(len(held_out))
    studies = planted.train.studies.assign(
        Mass=(images < 4).astype(np.int8),
        Nodule=(images % 2).astype(np.int8),
        Edema=np.int8(0),
    )
    guessed = held_out.drop(columns="Effusion").assign(Mass=1.0, Nodule=images / 100, Edema=0.0)
    errors = find_label_errors(Dataset(studies, {}), guessed, PARAMS.folds, MIN_POSITIVES)
    said = errors.by_finding.set_index("finding")["left_out"].fillna("").to_dict()
    few = "fewer than 5 patients with it or labelled without it"
    assert said == {
        "Cardiomegaly": "",
        "Effusion": "starts from a registered version: no folds",
        "Mass": few,
        "Nodule": "not shown to be ranked better than by chance",
        "Edema": few,
    }
    assert set(errors.listed["finding"]) == {"Cardiomegaly"}


def test_fits_of_folds_that_lie_apart_are_not_ranked_against_each_other(
    planted: Planted, held_out: pd.DataFrame
) -> None:
    fold = np.array([patient_fold(patient, PARAMS.folds) for patient in planted.train.patients])
    apart = held_out.add(10.0 * fold, axis=0)  # the same order within each fold
    tables = [
        find_label_errors(planted.train, odds, PARAMS.folds, MIN_POSITIVES).by_finding for odds in (held_out, apart)
    ]
    assert tables[0]["auroc"].tolist() == tables[1]["auroc"].tolist() and tables[0]["auroc"].min() > 0.55


def test_without_a_finding_that_was_fitted_there_are_two_tables_without_figures(planted: Planted) -> None:
    errors = find_label_errors(planted.train, pd.DataFrame(), PARAMS.folds, MIN_POSITIVES)
    assert list(errors.listed) == list(label_errors_module.COLUMNS) and errors.listed.empty
    assert errors.by_finding["left_out"].notna().all() and errors.by_finding["listed"].isna().all()
