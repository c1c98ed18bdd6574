"""The examples of the overview: what was found, wrongly detected and missed, one image a patient."""

from collections import Counter

import numpy as np

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.examples import FOUND, MISSED, OUTCOMES, PER_OUTCOME, WRONG, choose_examples, draw_examples
from chestxray.evaluation.figures import examples_figure, save
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.inference.bundle import Bundle
from chestxray.labels import label_masks
from tests.chestxray.conftest import PARAMS

RNG = np.random.default_rng(0)
LABELS = RNG.integers(-1, 2, (120, 6)).astype(np.int8)
DECISIONS = RNG.integers(-1, 2, (120, 6))  # -1: none is made
PATIENTS = (np.arange(120) // 3).astype(str)
MASKS = label_masks(LABELS, tuple("abcdef"))


def chosen(seed: int = 4):
    return choose_examples(MASKS, DECISIONS == 1, DECISIONS == 0, PATIENTS, seed)


def test_each_outcome_has_its_examples_and_no_patient_comes_twice() -> None:
    examples = chosen()
    assert Counter(example.outcome for example in examples) == dict.fromkeys(OUTCOMES, PER_OUTCOME)
    assert len({PATIENTS[example.row] for example in examples}) == len(examples)
    meant = {FOUND: (1, 1), WRONG: (0, 1), MISSED: (1, 0)}
    for outcome, row, column in examples:
        assert (LABELS[row, column], DECISIONS[row, column]) == meant[outcome]
    for outcome in OUTCOMES:
        assert len({example.column for example in examples if example.outcome == outcome}) == PER_OUTCOME


def test_the_draw_depends_on_the_seed_alone() -> None:
    assert chosen() == chosen() != chosen(seed=5)


def test_where_there_are_few_examples_there_are_fewer_pictures() -> None:
    labels, none = label_masks(np.ones((4, 2), np.int8), ("a", "b")), np.zeros((4, 2), bool)
    one = np.array(["7"] * 4)
    assert [example.outcome for example in choose_examples(labels, ~none, none, one, 0)] == [FOUND]
    assert choose_examples(labels, none, none, one, 0) == []


def test_the_figure_has_a_row_for_each_outcome(dataset: Dataset, bundle_folder, tmp_path) -> None:
    bundle, test = Bundle(bundle_folder), dataset.split("test")
    positive = np.ones((len(test.studies), len(FINDINGS)), bool)
    examples = choose_examples(label_masks(test.labels, test.findings), positive, ~positive, test.patients, 0)
    row, column = next((example.row, example.column) for example in examples)
    box = test.studies.iloc[[row]][["batch", "image"]].assign(finding=FINDINGS[column], x=10, y=20, w=30, h=40)
    pictures = draw_examples(bundle, test, examples, box, PARAMS.gradcam)
    assert list(pictures) == list(OUTCOMES) and len(pictures[FOUND]) > 0 and pictures[MISSED] == []
    scale = PARAMS.gradcam.size / bundle.card.size
    np.testing.assert_allclose(pictures[FOUND][0].boxes, [[10 * scale, 20 * scale, 30 * scale, 40 * scale]])
    figure = examples_figure(pictures, "synthetic phantoms, test side")
    said = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {*OUTCOMES, "none"} <= said and "synthetic" in figure.get_suptitle()
    assert RESEARCH_USE_ONLY in figure.get_suptitle()
    for name in ("a.png", "b.png"):
        save(examples_figure(pictures, "synthetic phantoms, test side"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
