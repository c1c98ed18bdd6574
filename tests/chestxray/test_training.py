"""From views to features, fine-tuning, export and the bundle, on a tiny network and real files."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest

from chestxray import export as export_module
from chestxray import features as features_module
from chestxray.augment import views
from chestxray.bundle import MODEL, Bundle, BundleError, Network, write_card
from chestxray.dataset import Dataset
from chestxray.evaluation import card_of, evaluate_model
from chestxray.export import ParityError, export_classifier
from chestxray.features import Features, load_features, write_features
from chestxray.findings import FINDINGS
from chestxray.mobilenet import TORCHVISION, LayerWeights
from chestxray.onnx_graph import features_graph
from chestxray.params import FeaturesParams, FineTuneParams, load_params
from chestxray.training import cached_examples, fine_tune, pixel_examples
from tests.chestxray.conftest import TINY

SIZE, INPUT = 72, 64
PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
VIEWS = PARAMS.features.model_copy(update={"views": 4})
TUNE = PARAMS.fine_tune.model_copy(
    update={"from_layer": "Conv_1", "epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "patience": 2}
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Noise whose brightness says which findings it has: 20 images to train, 20 to validate, 20 to test."""
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=(60, 14)).astype(np.int8)
    images = rng.integers(120, size=(60, SIZE, SIZE), dtype=np.uint8) + (truth[:, :1, None] * 90).astype(np.uint8)
    studies = pd.DataFrame(truth, columns=list(FINDINGS))
    studies["batch"], studies["row"], studies["side"] = "b", range(60), np.repeat(["train", "validation", "test"], 20)
    studies["image"] = studies["patient"] = [str(row) for row in range(60)]
    studies["content_hash"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    studies["synthetic"] = True
    return Dataset(studies, {"b": images})


@pytest.fixture(scope="module")
def graph(tiny_weights: LayerWeights) -> bytes:
    return features_graph(tiny_weights, TINY.alpha, TORCHVISION, INPUT, "Conv_1").SerializeToString()


@pytest.fixture(scope="module")
def folder(dataset: Dataset, graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "b"
    write_features(dataset, graph, INPUT, VIEWS, out, out.parent / "scratch")
    return out


def features(folder: Path, dataset: Dataset) -> tuple[Features, Features]:
    return load_features([folder], dataset.studies, "train"), load_features([folder], dataset.studies, "validation")


def test_the_first_views_are_the_centre_and_its_mirror_image(dataset: Dataset) -> None:
    image = dataset.pixels(3)
    seen = views(image, INPUT, 4, VIEWS, "ab" * 32)
    assert seen.shape == (4, INPUT, INPUT, 1)
    assert np.array_equal(seen[0, ..., 0], image[4:68, 4:68]) and np.array_equal(seen[1], seen[0][:, ::-1])
    assert np.array_equal(seen[:3], views(image, INPUT, 3, VIEWS, "ab" * 32))
    assert not np.array_equal(seen[2], views(image, INPUT, 3, VIEWS, "cd" * 32)[2])


def test_without_ranges_an_augmented_view_is_the_centre() -> None:
    still = FeaturesParams(
        views=4, rotation=0, scale=(72 / 64, 72 / 64), shift=0, gamma=0, contrast=(1, 1), brightness=0, seed=1
    )
    image = np.random.default_rng(1).integers(256, size=(SIZE, SIZE), dtype=np.uint8)
    seen = views(image, INPUT, 4, still, "ab" * 32)
    assert np.array_equal(seen[2], seen[0]) and np.array_equal(seen[3], seen[1])


def test_features_are_what_the_network_says_of_each_view(dataset: Dataset, graph: bytes, folder: Path) -> None:
    train, validation = features(folder, dataset)
    assert train.pooled[0].shape == (20, 4, 1280) and validation.pooled[0].shape == (20, 2, 1280)
    seen = views(dataset.pixels(7), INPUT, 4, VIEWS, dataset.studies["content_hash"][7])
    pooled, activations = ort.InferenceSession(graph).run(["pooled", "activations"], {"view": seen})
    np.testing.assert_allclose(train.pooled[0][7], pooled, rtol=2e-3, atol=2e-3)
    rows = train.rows(np.array([7, 2]), np.array([3, 0]))
    np.testing.assert_allclose(rows[0], activations[3], rtol=2e-3, atol=2e-3)


def test_a_killed_run_is_taken_up_where_it_stopped(
    dataset: Dataset, graph: bytes, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(count: list[int], limit: int) -> object:
        def counted(*arguments: object) -> np.ndarray:
            count[0] += 1
            if count[0] > limit:
                raise KeyboardInterrupt
            return views(*arguments)  # type: ignore[arg-type] - passed on as they come

        return counted

    out, first, second = tmp_path / "b", [0], [0]
    monkeypatch.setattr(features_module, "views", drawn(first, 13))
    with pytest.raises(KeyboardInterrupt):
        write_features(dataset, graph, INPUT, VIEWS, out, tmp_path / "scratch")
    assert not out.exists()
    monkeypatch.setattr(features_module, "views", drawn(second, 999))
    write_features(dataset, graph, INPUT, VIEWS, out, tmp_path / "scratch")
    assert second[0] == 40 - 12  # whole rounds of four images were kept
    for file in folder.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_features_of_other_studies_are_refused(dataset: Dataset, folder: Path) -> None:
    with pytest.raises(ValueError, match="20 train images given for 19 studies"):
        load_features([folder], dataset.studies[1:], "train")


def tuned(
    folder: Path, dataset: Dataset, weights: LayerWeights, **changes: object
) -> tuple[LayerWeights, pd.DataFrame, int]:
    train, validation = features(folder, dataset)
    params = FineTuneParams.model_validate(TUNE.model_dump() | changes)
    result = fine_tune(
        cached_examples(train), cached_examples(validation), weights, np.ones(14), TORCHVISION, TINY, params
    )
    return result.weights, result.curve, result.best_epoch


def test_fine_tuning_lowers_the_loss_repeatably_and_leaves_batch_statistics(
    folder: Path, dataset: Dataset, tiny_weights: LayerWeights
) -> None:
    weights, curve, best = tuned(folder, dataset, tiny_weights, epochs=4, patience=4)
    again, curve_again, _ = tuned(folder, dataset, tiny_weights, epochs=4, patience=4)
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[1]
    assert curve["validation_mean_auroc"].iloc[best] == curve["validation_mean_auroc"].max()
    pd.testing.assert_frame_equal(curve, curve_again)
    assert all(np.array_equal(a, b) for name in weights for a, b in zip(weights[name], again[name], strict=True))
    for statistic in (2, 3):
        assert np.array_equal(weights["Conv_1_bn"][statistic], tiny_weights["Conv_1_bn"][statistic])


def test_the_head_is_kept_when_nothing_beats_it(folder: Path, dataset: Dataset, tiny_weights: LayerWeights) -> None:
    weights, curve, best = tuned(folder, dataset, tiny_weights, epochs=0)
    assert best == 0 and len(curve) == 1
    assert all(np.array_equal(a, b) for name in weights for a, b in zip(weights[name], tiny_weights[name], strict=True))


def test_pixels_and_cached_activations_start_from_the_same_score(
    folder: Path, dataset: Dataset, tiny_weights: LayerWeights
) -> None:
    _, cached, _ = tuned(folder, dataset, tiny_weights, epochs=0)
    sides = [pixel_examples(dataset.side(side), INPUT, VIEWS) for side in ("train", "validation")]
    params = TUNE.model_copy(update={"from_layer": "input", "epochs": 1})
    pixels = fine_tune(*sides, tiny_weights, np.ones(14), TORCHVISION, TINY, params).curve
    for column in ("validation_loss", "validation_mean_auroc"):
        assert np.isclose(cached[column][0], pixels[column][0], atol=0.01)
    assert len(pixels) == 2


@pytest.fixture(scope="module")
def bundle(dataset: Dataset, tiny_weights: LayerWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle")
    export_classifier(tiny_weights, TORCHVISION, TINY, dataset, SIZE, out / MODEL)
    network = Network(out / MODEL)
    evaluation = evaluate_model(network, dataset, PARAMS.evaluate.model_copy(update={"resamples": 100}))
    write_card(card_of(network, evaluation, dataset, PARAMS, (out / MODEL).read_bytes()), out)
    return out


def test_a_bundle_says_calibrated_probabilities_and_maps(bundle: Path, dataset: Dataset) -> None:
    opened = Bundle(bundle)
    probabilities, maps = opened.predict(next(dataset.side("test").chunks(32)))
    assert probabilities.shape == (20, 14) and ((probabilities > 0) & (probabilities < 1)).all()
    assert maps.shape == (20, 2, 2, 14) and opened.card.synthetic
    assert opened.card.findings == FINDINGS and len(opened.card.thresholds) == 14


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_a_damaged_card_or_model_is_said(bundle: Path, tmp_path: Path, damage: bytes) -> None:
    for name in ("bundle.json", MODEL):
        broken = tmp_path / name.replace(".", "-")
        broken.mkdir()
        for file in bundle.iterdir():
            (broken / file.name).write_bytes(damage if file.name == name else file.read_bytes())
        with pytest.raises(BundleError, match=r"is not a bundle|SHA-256"):
            Bundle(broken)


def test_a_graph_that_disagrees_with_keras_is_not_exported(
    dataset: Dataset, tiny_weights: LayerWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_module.classifier_graph

    def other(weights: LayerWeights, *arguments: object) -> object:
        kernel, bias = weights["findings"]
        return real(weights | {"findings": [kernel, bias + np.float32(0.01)]}, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(export_module, "classifier_graph", other)
    with pytest.raises(ParityError, match="not exported"):
        export_classifier(tiny_weights, TORCHVISION, TINY, dataset, SIZE, tmp_path / MODEL)
    assert list(tmp_path.iterdir()) == []


def test_operating_points_and_calibration_come_from_validation_alone(bundle: Path, dataset: Dataset) -> None:
    params, network = PARAMS.evaluate.model_copy(update={"resamples": 100}), Network(bundle / MODEL)
    first = evaluate_model(network, dataset, params)

    def flipped(side: str) -> Dataset:
        studies = dataset.studies.copy()
        studies.loc[studies["side"] == side, list(FINDINGS)] = 1 - dataset.side(side).truth
        return Dataset(studies, dataset.images)

    test_changed = evaluate_model(network, flipped("test"), params)
    assert np.array_equal(test_changed.thresholds, first.thresholds)
    assert test_changed.platt.to_dict() == first.platt.to_dict()
    assert test_changed.metrics != first.metrics
    assert not np.array_equal(evaluate_model(network, flipped("validation"), params).thresholds, first.thresholds)
    assert json.dumps(first.metrics, allow_nan=False)


def test_what_serves_loads_no_tensorflow_and_no_mlflow() -> None:
    script = (
        "import sys, chestxray.bundle, chestxray.cam, chestxray.radiograph\n"
        "print([name for name in ('tensorflow', 'keras', 'mlflow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
