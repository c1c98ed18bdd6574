"""Shortcuts: one of known strength is found, and without one none is."""

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.shortcuts import (
    find_shortcuts,
    place_across_folds,
    pooled_features,
    told_by_attributes,
    told_by_features,
)
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL
from chestxray.inference.onnx_model import OnnxModel
from chestxray.metrics.logistic import fit_logistic, predict_across_folds
from chestxray.phantom.shortcut import FINDING, take_shortcut
from chestxray.phantom.study import Drawing
from tests.chestxray.phantom.drawing import TINY


def phantoms(strength: float, seed: int, count: int = 600) -> Dataset:
    """Empty phantoms with a finding in every fourth, written as the shortcut says; half to train, half to test."""
    generator = np.random.default_rng(seed)
    params = TINY.model_copy(update={"shortcut": strength, "seed": seed})
    blank = np.zeros((params.size, params.size), np.uint8)
    labels = pd.DataFrame(0, index=range(count), columns=[*FINDINGS[:2], FINDING], dtype=np.int8)
    labels[FINDING] = (generator.random(count) < 0.25).astype(np.int8)
    labels["Atelectasis"] = (generator.random(count) < 0.3).astype(np.int8)
    drawings = [
        take_shortcut(Drawing(blank, (FINDING,) if has else (), {}), params, (row, 0))
        for row, has in enumerate(labels[FINDING])
    ]
    sides = [len(drawing.image) for drawing in drawings]
    studies = labels.assign(
        batch="b", width=sides, height=sides, patient=[str(row // 2) for row in range(count)],
        view=generator.choice(["PA", "AP"], count), sex="F", age=pd.Series(40, labels.index, dtype="Int16"),
        split=np.repeat(["train", "test"], count // 2),
    )  # fmt: skip
    return Dataset(studies, {})


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
def test_a_shortcut_of_known_strength_is_found(strength: float) -> None:
    data = phantoms(strength, 1)
    table = told_by_attributes(data.split("train"), data.split("test"), 10).set_index(["source", "target"])
    found = table.loc[("image size", FINDING)]
    assert found["ci_low"] <= (1 + strength) / 2 <= found["ci_high"] and found["ci_low"] > 0.5
    other = table.loc[("image size", "Atelectasis")]
    assert other["ci_low"] < 0.5 < other["ci_high"]
    assert table.loc[("view", FINDING), "ci_low"] < 0.5


def test_without_one_none_is_found() -> None:
    data = phantoms(0.0, 2)
    table = told_by_attributes(data.split("train"), data.split("test"), 10)
    assert set(table["source"]) == {"view"}  # all images are of one size and batch, which can tell nothing
    assert ((table["ci_low"] < 0.5) & (table["ci_high"] > 0.5)).all()
    assert (table["n"] == 300).all() and (table["patients"] == 150).all()


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_without_training_images_some_test_patients_tell_of_others(strength: float) -> None:
    data = phantoms(strength, 1).split("test")
    table = told_by_attributes(data.split("train"), data, 10).set_index(["source", "target"])
    other = table.loc[("view", FINDING)]
    assert other["n"] == 300 and other["ci_low"] < 0.5
    assert (("image size", FINDING) in table.index) == (strength > 0)
    if strength:
        found = table.loc[("image size", FINDING)]
        assert found["ci_low"] <= (1 + strength) / 2 <= found["ci_high"] and found["ci_low"] > 0.5


def test_what_says_nothing_does_not_tell_the_opposite() -> None:
    areas = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        view, positive = generator.random(120) < 0.5, generator.random(120) < 0.25
        places = place_across_folds(np.column_stack([view, ~view]).astype(float), positive, np.arange(120) // 2 % 5)
        areas.append(roc_auc_score(positive, places))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.015)  # 0.47 where the scores of all folds are one ranking


def test_what_says_all_tells_all_however_unlike_the_folds_are() -> None:
    fold = np.arange(120) % 5
    positive = np.random.default_rng(0).random(120) < 0.1 + 0.2 * fold
    places = place_across_folds(positive[:, None].astype(float), positive, fold)
    assert roc_auc_score(positive, places) == 1


def test_only_images_of_the_finding_get_smaller_and_their_boxes_with_them() -> None:
    image = np.random.default_rng(0).integers(256, size=(64, 64), dtype=np.uint8)
    drawing = Drawing(image, (FINDING,), {FINDING: (4, 8, 20, 40)})
    other = Drawing(image, ("Mass",), {"Mass": (4, 8, 20, 40)})
    always = TINY.model_copy(update={"shortcut": 1.0})
    assert take_shortcut(drawing, TINY, (1, 0)) is drawing and take_shortcut(other, always, (1, 0)) is other
    small = take_shortcut(drawing, always, (1, 0))
    assert small.image.shape == (48, 48) and small.boxes == {FINDING: (3, 6, 15, 30)}
    half = TINY.model_copy(update={"shortcut": 0.5})
    shrunk = [take_shortcut(drawing, half, (number, 0)) is not drawing for number in range(400)]
    assert 0.42 < np.mean(shrunk) < 0.58


@pytest.mark.parametrize(("strength", "found"), [(0.0, False), (1.0, True)])
def test_what_features_tell_is_told(strength: float, found: bool) -> None:
    studies = phantoms(0.0, 3, 400).studies
    features = np.random.default_rng(4).normal(size=(400, 30))
    features[:, 7] += strength * (studies["view"] == "AP")
    studies.loc[:9, "view"] = None
    table = told_by_features(features, studies, studies["patient"].to_numpy(np.str_), 10).set_index("target")
    assert list(table.index) == ["view AP", "view PA"] and (table["n"] == 390).all()
    assert (table["ci_low"] > 0.55).all() if found else (table["ci_low"] < 0.5).all()


def test_the_regression_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    features = generator.normal(size=(200, 6))
    positive = generator.random(200) < 1 / (1 + np.exp(-features[:, 0]))
    expected = LogisticRegression(tol=1e-8, max_iter=1000).fit(features, positive).coef_[0]
    np.testing.assert_allclose(fit_logistic(features, positive), expected, atol=1e-3)
    fold = np.arange(200) % 5
    flipped = np.where(fold == 2, ~positive, positive)
    same = predict_across_folds(features, positive, fold)[fold == 2]
    np.testing.assert_array_equal(predict_across_folds(features, flipped, fold)[fold == 2], same)


def test_pooled_features_are_what_the_head_sees(bundle_folder: Path, dataset: Dataset) -> None:
    content, test = (bundle_folder / MODEL).read_bytes(), dataset.split("test")
    features, logits = pooled_features(content, test), OnnxModel(content).logits(next(test.chunks(20)))
    heads = [each for each in onnx.load_from_string(content).graph.initializer if each.name.startswith("head_")]
    kernel = np.concatenate([onnx.numpy_helper.to_array(head)[:, :, 0, 0].T for head in heads])
    assert len(heads) == 2 and features.shape == (20, len(kernel))
    rest = logits - features @ kernel  # the bias of the head
    np.testing.assert_allclose(rest, np.broadcast_to(rest[:1], rest.shape), rtol=1e-3, atol=1e-3)
    table = find_shortcuts(content, dataset, 2)
    assert list(table["source"]) == []  # one sex, view, size and batch
