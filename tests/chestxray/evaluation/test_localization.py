"""Where heatmaps point: closed forms, and maps that are known to look or not to look at the image."""

from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.localization import (
    ALL,
    GAIN,
    MEASURES,
    Localization,
    Place,
    localize,
    mean_boxes,
    score_heat,
    score_random_place,
    true_places,
)
from chestxray.evaluation.shuffled_network import shuffle_weights
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL
from chestxray.inference.onnx_model import OnnxModel
from chestxray.metrics.shares import measure_means
from tests.chestxray.conftest import SIZE, TINY


def square(left, top, side, of=40):
    mask = np.zeros((of, of), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_heat_that_is_the_box_finds_it_and_its_opposite_does_not():
    mask = square(5, 7, 10)
    assert set(score_heat(mask.astype(float), mask).values()) == {1.0}
    assert set(score_heat(-mask.astype(float), mask).values()) == {0.0}


def test_a_shifted_box_overlaps_as_geometry_says():
    found = score_heat(square(10, 5, 10).astype(float), square(5, 5, 10))  # half of each: IoU 1/3
    assert (found["iou_0.25"], found["iou_0.5"], found["iobb_0.5"]) == (1, 0, 1)


def test_nothing_hangs_on_which_way_up_the_image_is():
    """Mean boxes are plateaus: of pixels that are equally hot none comes first."""
    plateau, mask = square(2, 2, 20).astype(float), square(12, 12, 10)
    found = score_heat(plateau, mask)
    assert found["pointing_game"] == 0.25 and found["iobb_0.25"] == 1 and found["iobb_0.5"] == 0
    for turn in (np.flipud, np.fliplr, np.rot90):
        assert score_heat(turn(plateau), turn(mask)) == pytest.approx(found)


def test_pixel_auroc_is_scikit_learns():
    generator = np.random.default_rng(0)
    mask, heat = generator.random((30, 30)) < 0.1, generator.normal(size=(30, 30)).round(1)
    assert score_heat(heat, mask)["pixel_auroc"] == pytest.approx(roc_auc_score(mask.ravel(), heat.ravel()))


def test_a_random_place_is_what_drawing_places_gives():
    mask, generator, drawn = square(3, 20, 12), np.random.default_rng(1), []
    for _ in range(3000):
        left, top = generator.integers(0, 29, 2)
        drawn.append(score_heat(square(left, top, 12).astype(float), mask))
    for name, value in score_random_place(mask).items():
        if name.startswith("io"):
            assert value == pytest.approx(np.mean([each[name] for each in drawn]), abs=0.02)
    assert score_random_place(mask)["pointing_game"] == 0.09


def test_the_mean_box_is_that_of_other_patients():
    boxes = [np.array([[0, 0, 10, 10]]), np.array([[5, 5, 15, 15]]), np.array([[20, 20, 30, 30]])]
    places = [
        Place(0, 0, "a", boxes[0]),
        Place(1, 0, "a", boxes[1]),
        Place(2, 0, "b", boxes[2]),
        Place(3, 1, "b", boxes[0]),
    ]
    means = list(mean_boxes(places, 40))
    np.testing.assert_array_equal(means[0], places[2].mask(40))
    np.testing.assert_allclose(means[2], (places[0].mask(40) + places[1].mask(40).astype(float)) / 2)
    assert means[3] is None  # nobody else has that finding


def localization(gain, patients):
    """Maps that are better than the mean box by `gain` on average, one place a patient."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=patients)
    places = [Place(row, 3, str(row), np.zeros((0, 4), np.intp)) for row in range(patients)]
    usual = {name: np.full(patients, 0.6) for name in MEASURES}
    return Localization(
        FINDINGS, places, {"map": {n: v + gain + noise for n, v in usual.items()}, "mean box": usual}, 10
    )


@pytest.mark.parametrize(
    ("gain", "patients", "said"), [(0.1, 30, "shown"), (0.0, 30, "unproven"), (0.1, 9, "unproven")]
)
def test_a_map_is_unproven_unless_it_is_shown_to_beat_the_mean_box(gain, patients, said):
    found = localization(gain, patients)
    assert found.explanations() == ("unproven",) * 3 + (said,) + ("unproven",) * 10
    table = found.table
    row = table[(table["finding"] == FINDINGS[3]) & (table["method"] == GAIN) & (table["measure"] == "pixel_auroc")]
    assert row["n"].item() == row["patients"].item() == patients and row["value"].item() == pytest.approx(
        gain, abs=0.05
    )
    assert set(table["finding"]) == {FINDINGS[3], ALL} and table["ci_low"].isna().all() == (patients < 10)


def test_the_interval_of_an_area_is_that_of_a_mean_and_covers():
    generator = np.random.default_rng(0)
    inside, width = [], []
    for _ in range(400):
        values, patients = generator.beta(8, 2, 40)[:, None], np.arange(40) // 2
        found = measure_means(values, np.ones((40, 1), bool), patients, 10)
        inside.append(found.low[0] <= 0.8 <= found.high[0])
        width.append(found.high[0] - found.low[0])
    assert np.mean(inside) >= 0.93 and np.mean(width) < 0.1  # a share of 40 images would have .25
    constant = measure_means(np.full((40, 1), 0.5), np.ones((40, 1), bool), patients, 10)
    assert constant.low == constant.high == 0.5


def test_boxes_are_in_pixels_of_the_square_that_the_network_sees():
    studies = pd.DataFrame(
        {"batch": "b", "image": ["1.png", "2.png"], "patient": ["p", "q"], **dict.fromkeys(FINDINGS, 1)}
    )
    test = SimpleNamespace(studies=studies, findings=FINDINGS, patients=studies["patient"].to_numpy())
    rows = [
        ("b", "1.png", "Mass", 20.0, 30.0, 10.0, 5.0),
        ("b", "1.png", "Mass", 0.0, 0.0, 200.0, 12.0),  # its lower edge alone lies within
        ("b", "2.png", "Mass", 0.0, 0.0, 5.0, 5.0),  # outside of the square
        ("b", "2.png", "Sign", 20.0, 20.0, 5.0, 5.0),
        ("c", "2.png", "Mass", 20.0, 20.0, 5.0, 5.0),
    ]
    boxes = pd.DataFrame(rows, columns=["batch", "image", "finding", "x", "y", "w", "h"])
    (place,) = true_places(test, boxes, size=80, input_size=60)
    assert (place.row, FINDINGS[place.finding], place.patient) == (0, "Mass", "p")
    assert sorted(place.boxes.tolist()) == [[0, 0, 60, 2], [10, 20, 20, 25]]


def test_a_shuffled_network_keeps_its_numbers_and_loses_what_it_learned(bundle_folder):
    content = (bundle_folder / MODEL).read_bytes()
    before, after = (onnx.load_from_string(each).graph.initializer for each in (content, shuffle_weights(content, 1)))
    changed = 0
    for one, other in zip(before, after, strict=True):
        values, others = numpy_helper.to_array(one), numpy_helper.to_array(other)
        if one.name == "usual_maps":
            assert values.any() and not others.any()
            continue
        np.testing.assert_array_equal(np.sort(values, axis=None), np.sort(others, axis=None))
        assert one.name not in ("scale", "offset") or np.array_equal(values, others)  # grey levels stay what they were
        changed += not np.array_equal(values, others)
    assert changed > 20 and shuffle_weights(content, 1) == shuffle_weights(content, 1) != shuffle_weights(content, 2)


def test_a_models_maps_are_measured_on_the_test_images_with_boxes(bundle_folder, dataset: Dataset):
    content = (bundle_folder / MODEL).read_bytes()
    test = dataset.split("test")
    some = test.studies[["batch", "image"]].iloc[:12].assign(finding="Mass", x=20.0, y=20.0, w=20.0, h=10.0)
    found = localize(OnnxModel(content), OnnxModel(shuffle_weights(content, 0)), test, some, 2)
    table = found.table.set_index(["finding", "method", "measure"])
    assert table.loc[("Mass", "map", "pointing_game"), "n"] == 12
    assert table.loc[("Mass", "random place", "pointing_game"), "value"] == pytest.approx(
        200 / TINY.input_size**2, abs=1e-6
    )
    assert table.loc[("Mass", "mean box", "pixel_auroc"), "value"] == 1  # all boxes are the same
    assert found.explanations()[FINDINGS.index("Mass")] == "unproven" and TINY.input_size < SIZE
    none = localize(OnnxModel(content), OnnxModel(content), test, some.iloc[:0], 2)
    assert none.table.empty and none.explanations() == ()
