"""Fine-tuning on a tiny network: it learns, it repeats itself, and it never ends worse than it began."""

import hashlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.findings import FINDINGS
from chestxray.models.keras_model import set_weights, trainable_part
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.onnx_graph import features_graph, prefix_graph
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import HEAD
from chestxray.params import BackboneParams, FineTuneParams
from chestxray.training.features import load_features, write_features
from chestxray.training.fine_tuning import FineTuned, fine_tune
from chestxray.training.images import TrainingImages, cached_images, decoded_images, recomputed_images
from tests.chestxray.conftest import PARAMS, TINY, TINY_CONFIG, VIEWS, lively_weights

TUNE = PARAMS.fine_tune.model_copy(update={"from_layer": "Conv_1", "epochs": 2, "batch_size": 8, "learning_rate": 1e-3})


@pytest.fixture(scope="module")
def cached(features_folder: Path, dataset: Dataset) -> tuple[TrainingImages, TrainingImages]:
    splits = (
        load_features([features_folder], dataset.split(split).studies, split) for split in ("train", "validation")
    )
    train, validation = (cached_images(features, TINY_CONFIG, TUNE.from_layer) for features in splits)
    return train, validation


def tuned(
    images: tuple[TrainingImages, TrainingImages],
    weights: LayerWeights,
    backbone: BackboneParams = TINY,
    class_weights: np.ndarray | None = None,
    **changes: object,
) -> FineTuned:
    params = FineTuneParams.model_validate(TUNE.model_dump() | changes)
    class_weights = np.ones(14) if class_weights is None else class_weights
    return fine_tune(*images, weights, class_weights, pretrained_config(backbone, PARAMS.head), params)


def assert_same_weights(one: LayerWeights, other: LayerWeights) -> None:
    """Layer by layer, of the layers in `one`."""
    for name, arrays in one.items():
        for a, b in zip(arrays, other[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_it_lowers_the_loss_repeatably(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    first = tuned(cached, tiny_weights, epochs=4)
    again = tuned(cached, tiny_weights, epochs=4)
    assert first.curve["loss"].iloc[-1] < first.curve["loss"].iloc[1]
    assert first.curve["epoch"].tolist() == [0, 1, 2, 3, 4]
    pd.testing.assert_frame_equal(first.curve, again.curve)
    assert_same_weights(first.weights, again.weights)


def test_another_seed_goes_another_way(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    one, other = (tuned(cached, tiny_weights, epochs=1, seed=seed).curve["loss"][1] for seed in (1, 2))
    assert one != other


def bright(images: TrainingImages) -> TrainingImages:
    """The same images, of which brightness tells every finding."""
    return replace(images, labels=np.repeat(images.labels[:, :1], 14, axis=1))


def without_head(weights: LayerWeights) -> LayerWeights:
    """The same weights but for a head that says nothing."""
    return weights | {HEAD: [np.zeros_like(array) for array in weights[HEAD]]}


def test_the_best_epoch_is_kept_if_it_gains_more_than_a_standard_error(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    train, validation = cached
    result = tuned((bright(train), bright(validation)), without_head(tiny_weights), epochs=4)
    scores = result.curve["validation_mean_auroc"]
    assert result.kept and result.best_epoch == scores.argmax() > 0
    shorter = tuned((train, bright(validation)), result.weights, epochs=0)
    assert np.isclose(shorter.curve["validation_mean_auroc"][0], scores.max(), atol=1e-9)
    assert result.metrics() == {
        "start_validation_mean_auroc": 0.5,
        "validation_mean_auroc": pytest.approx(scores.max(), abs=1e-6),
        "gain": pytest.approx(scores.max() - 0.5, abs=1e-6),
        "gain_error": pytest.approx(result.gain[1], abs=1e-6),
        "best_epoch": result.best_epoch,
        "kept_epoch": result.best_epoch,
    }


def test_a_gain_that_other_patients_may_not_show_keeps_the_start(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    """Of 20 validation images with labels at random."""
    start = without_head(tiny_weights)
    train, validation = cached
    shuffled = [
        tuned((train, replace(validation, labels=np.random.default_rng(seed).permutation(validation.labels))), start)
        for seed in range(4)
    ]
    lost = [result for result in shuffled if 0 < result.gain[0] <= result.gain[1]]
    assert lost
    for result in lost:
        assert not result.kept and result.best_epoch > 0 and result.metrics()["kept_epoch"] == 0
        assert result.metrics()["validation_mean_auroc"] == 0.5
        assert_same_weights(result.weights, start)


def test_a_gain_that_hangs_on_a_single_patient_keeps_the_start(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    """It has no standard error, and JSON no NaN."""
    train, validation = cached
    start = without_head(tiny_weights)
    bright_one = int(np.argmax(validation.labels[:, 0]))
    labels = np.zeros_like(validation.labels)
    labels[bright_one] = 1
    result = tuned((bright(train), replace(validation, labels=labels)), start, epochs=2)
    assert result.best_epoch > 0 and result.gain[0] > 0 and np.isnan(result.gain[1])
    assert not result.kept and result.metrics()["kept_epoch"] == 0 and "gain_error" not in result.metrics()
    assert all(np.isfinite(value) for value in result.metrics().values())
    assert_same_weights(result.weights, start)


def test_scale_and_shift_are_trained_and_batch_statistics_are_not(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    result = tuned((bright(cached[0]), bright(cached[1])), without_head(tiny_weights), epochs=4)
    assert result.kept and set(result.weights) == {"Conv_1", "Conv_1_bn", HEAD}
    before = tiny_weights["Conv_1_bn"]
    after = result.weights["Conv_1_bn"]
    assert not np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])
    assert np.array_equal(before[2], after[2]) and np.array_equal(before[3], after[3])
    assert not np.array_equal(tiny_weights["Conv_1"][0], result.weights["Conv_1"][0])


def test_the_training_loss_is_that_of_inference(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    """Batch normalisation by the batch's own statistics would give another loss on the very first step."""
    train, _ = cached
    one_view = replace(train, load=lambda indices, _: train.load(indices, np.zeros_like(indices)), views=1)
    still = {"epochs": 1, "batch_size": 20, "warm_up": 0.0, "weight_decay": 0.0, "learning_rate": 1e-12}
    both = replace(one_view, views=2)
    curve = tuned((one_view, both), tiny_weights, class_weights=np.linspace(1, 5, 14), **still).curve
    assert np.isclose(curve["loss"][1], curve["validation_loss"][0], rtol=1e-3)


@pytest.mark.parametrize("learning_rate", [10.0, 1e30])
def test_the_head_is_kept_when_training_wrecks_it(
    learning_rate: float, cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    """Also when numbers overflow."""
    train, validation = cached
    # Labels of validation by what the head says: nothing can beat that.
    perfect = replace(validation, labels=_labels_of_the_head(validation, tiny_weights))
    result = tuned((train, perfect), tiny_weights, epochs=6, learning_rate=learning_rate, warm_up=0.0)
    assert result.best_epoch == 0 and result.metrics()["kept_epoch"] == 0
    assert result.curve["validation_mean_auroc"][0] == 1.0
    assert len(result.curve) == 1 + 6  # all of the schedule
    assert_same_weights(result.weights, tiny_weights)


def _labels_of_the_head(validation: TrainingImages, weights: LayerWeights) -> np.ndarray:
    """Positive where the logit is above its median."""
    model = trainable_part(TINY_CONFIG, "Conv_1", 14)
    set_weights(model, weights)
    views = [validation.load(np.arange(20), np.full(20, view)) for view in (0, 1)]
    logits = np.mean([model.predict_on_batch(view) for view in views], axis=0)
    return (logits > np.median(logits, axis=0)).astype(np.int8)


def test_no_epochs_keep_the_head(cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights) -> None:
    result = tuned(cached, tiny_weights, epochs=0)
    assert result.best_epoch == 0 and len(result.curve) == 1
    assert_same_weights(result.weights, tiny_weights)


def test_every_image_is_seen_once_an_epoch_in_views_that_change(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    train, validation = cached
    seen: list[tuple[int, int]] = []

    def load(indices: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.extend(zip(indices.tolist(), chosen.tolist(), strict=True))
        return train.load(indices, chosen)

    tuned((replace(train, load=load), validation), tiny_weights, epochs=2)
    epochs = [seen[:20], seen[20:40]]  # a few batches more may have been fetched ahead
    for epoch in epochs:
        assert sorted(image for image, _ in epoch) == list(range(20))
        assert {view for _, view in epoch} <= set(range(4))
    assert len({view for _, view in seen[:40]}) > 1 and sorted(epochs[0]) != sorted(epochs[1])


def test_cached_activations_and_pixels_start_from_the_same_score(
    cached: tuple[TrainingImages, TrainingImages], dataset: Dataset, tiny_weights: LayerWeights
) -> None:
    train, validation = (decoded_images(dataset.split(split), 64, VIEWS) for split in ("train", "validation"))
    assert np.array_equal(train.labels, cached[0].labels) and train.views == cached[0].views == 4
    by_cache = tuned(cached, tiny_weights, epochs=0).curve
    by_pixels = tuned((train, validation), tiny_weights, epochs=0, from_layer="input").curve
    for column in ("validation_loss", "validation_mean_auroc"):
        assert np.isclose(by_cache[column][0], by_pixels[column][0], atol=2e-3)


@pytest.mark.parametrize("from_layer", ["block_13", "Conv_1"])
def test_recomputed_activations_are_the_cached_ones(
    from_layer: str, dataset: Dataset, tiny_weights: LayerWeights, tmp_path: Path
) -> None:
    """With and without averages of taps before the first trained layer, which are cached either way."""
    for name, at in (("cached", from_layer), ("pooled", None)):
        graph = features_graph(tiny_weights, TINY_CONFIG, at).SerializeToString()
        write_features(dataset, graph, 64, VIEWS, tmp_path / name, tmp_path / "scratch")
    cached, pooled = (
        load_features([tmp_path / name], dataset.split("train").studies, "train") for name in ("cached", "pooled")
    )
    assert cached.activations and not pooled.activations
    prefix = prefix_graph(tiny_weights, TINY_CONFIG, from_layer).SerializeToString()
    images = recomputed_images(pooled, dataset.split("train"), prefix, TINY_CONFIG, from_layer, VIEWS)
    expected = cached_images(cached, TINY_CONFIG, from_layer)
    places, chosen = np.arange(8), np.arange(8) % 4
    loaded, wanted = images.load(places, chosen), expected.load(places, chosen)
    assert len(loaded) == len(wanted) == (1 if from_layer == "block_13" else 2)
    for ours, theirs in zip(loaded, wanted, strict=True):
        assert ours.dtype == theirs.dtype == np.float16
        np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), rtol=2e-3, atol=2e-3)


def test_a_finding_of_weight_0_changes_no_other(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    """Whatever its labels say; its own column of the head stays as it was."""
    kernel, bias = tiny_weights[HEAD]
    kernel = np.concatenate([np.zeros_like(kernel[:, :13]), kernel[:, 13:]], axis=1)  # a start that any epoch beats
    tiny_weights = tiny_weights | {HEAD: [kernel, bias]}
    cached = (
        replace(bright(cached[0]), labels=np.hstack([bright(cached[0]).labels[:, :13], cached[0].labels[:, 13:]])),
        bright(cached[1]),
    )
    fewer = tiny_weights | {HEAD: [kernel[:, :13], bias[:13]]}
    thirteen = tuple(replace(images, labels=images.labels[:, :13], findings=FINDINGS[:13]) for images in cached)
    alone = tuned(thirteen, fewer, class_weights=np.ones(13), epochs=3)  # type: ignore[arg-type] # two of them
    result = tuned(cached, tiny_weights, class_weights=np.array([1.0] * 13 + [0.0]), epochs=3)
    assert alone.best_epoch == result.best_epoch > 0 and alone.kept and result.kept
    np.testing.assert_allclose(result.curve, alone.curve, rtol=1e-4)
    for ours, theirs in zip(result.weights[HEAD], alone.weights[HEAD], strict=True):
        np.testing.assert_allclose(ours[..., :13], theirs, atol=1e-4)
    np.testing.assert_allclose(result.weights[HEAD][0][:, 13], kernel[:, 13], rtol=1e-4)
    assert result.weights[HEAD][1][13] == bias[13]


def small(precision: bool) -> FineTuned:
    """One epoch of the whole network on 32 × 32 pixels."""
    rng = np.random.default_rng(0)
    backbone = TINY.model_copy(update={"input_size": 32})
    pixels = rng.integers(256, size=(8, 32, 32), dtype=np.uint8)
    studies = pd.DataFrame(rng.integers(2, size=(8, 14)).astype(np.int8), columns=list(FINDINGS))
    studies["batch"] = "b"
    studies["patient"] = [str(row // 2) for row in range(8)]
    studies["row"] = range(8)
    studies["content_hash"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    images = decoded_images(Dataset(studies, {"b": pixels}), 32, VIEWS)
    return tuned(
        (images, images),
        lively_weights(backbone),
        backbone,
        from_layer="input",
        epochs=1,
        mixed_precision=precision,
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", [False, True])
def test_the_whole_network_is_trained_from_pixels(precision: bool) -> None:
    before = keras.mixed_precision.dtype_policy().name
    result = small(precision)
    assert keras.mixed_precision.dtype_policy().name == before
    assert len(result.curve) == 2 and np.isfinite(result.curve["loss"][1])
    assert all(array.dtype == np.float32 for arrays in result.weights.values() for array in arrays)


@pytest.mark.slow
def test_a_deeper_start_does_better_than_nothing(dataset: Dataset, tiny_weights: LayerWeights, tmp_path: Path) -> None:
    graph = features_graph(tiny_weights, TINY_CONFIG, "block_13").SerializeToString()
    write_features(dataset, graph, 64, VIEWS, tmp_path / "b", tmp_path / "scratch")
    splits = (load_features([tmp_path / "b"], dataset.split(split).studies, split) for split in ("train", "validation"))
    train, validation = (cached_images(features, TINY_CONFIG, "block_13") for features in splits)
    assert [len(images.load(np.arange(3), np.zeros(3, int))) for images in (train, validation)] == [1, 1]
    curve = tuned((train, validation), tiny_weights, epochs=3, from_layer="block_13").curve
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[1]


def test_precision_is_put_back_when_training_fails(
    cached: tuple[TrainingImages, TrainingImages], tiny_weights: LayerWeights
) -> None:
    before = keras.mixed_precision.dtype_policy().name
    with pytest.raises(KeyError):
        tuned(cached, {}, mixed_precision=True)
    assert keras.mixed_precision.dtype_policy().name == before
