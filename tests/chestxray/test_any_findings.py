"""The pipeline in miniature, from labels to a bundle and its overlays, for any number of findings.

Its stages run under DVC, with a finding of one's own among five, in tests/stages/test_own_findings.py.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.card import make_card
from chestxray.evaluation.evaluate import evaluate_model
from chestxray.evaluation.overlays import choose_studies, write_overlays
from chestxray.findings import UNLABELLED
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.weights import HEAD, read_weights, write_weights
from chestxray.params import Params, TrainParams
from chestxray.training import export
from chestxray.training.class_weights import check_ranked, class_weights, learnable, weight_array
from chestxray.training.export import export_classifier
from chestxray.training.features import load_features
from chestxray.training.fine_tuning import fine_tune
from chestxray.training.images import cached_images
from chestxray.training.linear_head import fit_head
from tests.chestxray.conftest import EVALUATE, PARAMS, SIZE, TINY, TINY_CONFIG
from tests.chestxray.sample import names

TUNE = PARAMS.fine_tune.model_copy(update={"from_layer": "Conv_1", "epochs": 1, "batch_size": 8})
GRADCAM = PARAMS.gradcam.model_copy(update={"size": 128})
BOXES = pd.DataFrame(columns=["batch", "image", "finding", "x", "y", "w", "h"])


def with_labels(dataset: Dataset, findings: tuple[str, ...]) -> Dataset:
    """The images with other findings: the first shows as brightness; of more than one nobody has labelled the last."""
    labels = np.random.default_rng(1).integers(2, size=(len(dataset.studies), len(findings))).astype(np.int8)
    labels[:, 0] = dataset.labels[:, 0]
    labels[:, 1:][:, -1:] = UNLABELLED
    rest = dataset.studies.drop(columns=list(dataset.findings))
    return Dataset(rest.join(pd.DataFrame(labels, columns=list(findings))), dataset.images)


def params_of(findings: tuple[str, ...]) -> Params:
    return Params.model_validate(PARAMS.model_dump(by_alias=True) | {"findings": dict.fromkeys(findings)})


def trained(data: Dataset, features_folder: Path, weights: LayerWeights) -> LayerWeights:
    """The network after both stages of training."""
    rows = class_weights(data.split("train").labels, data.findings, PARAMS.class_weighting)
    check_ranked(data, learnable(rows))
    assert learnable(rows) == data.findings[: max(1, len(data.findings) - 1)]
    weighting = weight_array(rows, data.findings)
    train, validation = (
        load_features([features_folder], data.split(split).studies, split) for split in ("train", "validation")
    )
    head = fit_head(train, weighting, TrainParams(l2=1.0, folds=2, warm_start=None, shared=0.0)).weights
    start = weights | {HEAD: [head[:-1], head[-1]]}
    images, chosen_by = (cached_images(each, TINY_CONFIG, TUNE.from_layer) for each in (train, validation))
    return start | fine_tune(images, chosen_by, start, weighting, TINY_CONFIG, TUNE).weights


@pytest.mark.parametrize("k", [1, 5, 14, 20])
def test_a_model_of_any_findings_is_trained_exported_measured_and_explained(
    k: int,
    dataset: Dataset,
    features_folder: Path,
    tiny_weights: LayerWeights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = ("Löwe 7-b", *names(20))[:k]
    data = with_labels(dataset, findings)
    write_weights(trained(data, features_folder, tiny_weights), tmp_path / "final.weights.h5")
    weights = read_weights(tmp_path / "final.weights.h5", TINY.alpha, k, TINY_CONFIG.tap_names)
    assert [array.shape for array in weights[HEAD]] == [(sum(tap.channels for tap in TINY_CONFIG.taps), k), (k,)]

    monkeypatch.setattr(export, "PARITY_IMAGES", 16)
    export_classifier(weights, TINY_CONFIG, data, SIZE, tmp_path / MODEL)
    model = OnnxModel(tmp_path / MODEL)
    evaluation = evaluate_model(model, data, ("b",), EVALUATE)
    write_card(make_card(model, evaluation, data, params_of(findings), (tmp_path / MODEL).read_bytes()), tmp_path)

    bundle, test = Bundle(tmp_path), data.split("test")
    assert bundle.card.findings == model.findings == data.findings == findings
    probabilities, maps = bundle.predict(np.stack([test.pixels(row) for row in range(3)])[..., None])
    assert probabilities.shape == (3, k) and maps.shape == (3, 4, 4, k) and np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities, evaluation.probabilities[:3], atol=1e-6)
    assert evaluation.metrics["test"]["findings_scored"] == max(1, k - 1)

    chosen = choose_studies(evaluation.decisions, 2, seed=0)
    index = write_overlays(bundle, test, chosen, BOXES, GRADCAM, tmp_path / "overlays")
    assert set(index["finding"]) <= set(findings[: max(1, k - 1)])
