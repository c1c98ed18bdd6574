"""Labels that are wrong are found among those that the head, fitted without their patients, contradicts."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.findings import UNLABELLED
from chestxray.params import TrainParams
from chestxray.phantom.cohort import sample_cohort
from chestxray.phantom.site import FIRST_SITE
from chestxray.phantom.study import draw_patient
from chestxray.training import label_errors as label_errors_module
from chestxray.training.features import Features
from chestxray.training.label_errors import LabelErrors, contradict, find_label_errors
from chestxray.training.linear_head import fit_head, head_logits
from tests.chestxray.phantom.drawing import TINY

PARAMS = TrainParams(l2=1.0, folds=3, warm_start=None)
MIN_POSITIVES = 5


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
    """Phantoms, of which some labels are wrong, and what is found."""

    train: Dataset
    wrong: pd.DataFrame
    features: Features
    held_out: pd.DataFrame
    in_training: pd.DataFrame

    @property
    def errors(self) -> LabelErrors:
        return find_label_errors(self.train, self.held_out, MIN_POSITIVES)


def fitted(features: Features, l2: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Log odds by fits without the patient, and by the one with all."""
    head = fit_head(features, np.full(len(features.findings), 3.0), PARAMS.model_copy(update={"l2": l2}))
    names = list(features.findings)
    return tuple(pd.DataFrame(each, columns=names) for each in (head.held_out, head_logits(features, head.weights)))


@pytest.fixture(scope="module")
def planted() -> Planted:
    """Small phantoms, whose pixels are the features; a fifth of either kind of labels is wrong."""
    params = TINY.model_copy(update={"difficulty": 0.0})
    names = ["Cardiomegaly", "Effusion"]
    rows, images = [], []
    for patient in sample_cohort(500, 300, params.seed):
        for study, drawing in zip(patient.studies, draw_patient(patient, FIRST_SITE, params), strict=True):
            rows.append([f"{patient.number}_{study.followup}.png", str(patient.number), *(f in drawing.findings for f in names)])
            images.append(cv2.resize(drawing.image, (16, 16), interpolation=cv2.INTER_AREA).ravel() / 64)
    print(pd.DataFrame(rows).sum())
