"""Make small real bundles, without TensorFlow."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL
from chestxray.inference.card import Card, write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.operating_point import OperatingPoint, Rate
from chestxray.inference.platt import Platt
from chestxray.inference.uncertain import UncertainBand
from chestxray.metrics import table as metrics
from chestxray.models.mobilenet_v2 import LayerWeights, blocks
from chestxray.models.onnx_graph import classifier_graph
from chestxray.models.pretrained_config import TORCHVISION
from chestxray.models.weights import HEAD

ALPHA = 0.35
SIZE = 80
INPUT_SIZE = 64
HEADLINES = {metric.name: metric.title for metric in metrics.HEADLINES}
METRICS = {"n": 10, "patients": 5} | {f"{name}{end}": 0.5 for name in HEADLINES for end in ("", "_ci_low", "_ci_high")}


def random_weights(seed: int, findings: int = len(FINDINGS)) -> LayerWeights:
    rng, weights, channels = np.random.default_rng(seed), LayerWeights(), 3
    for convolution in (c for block in blocks(ALPHA) for c in block.convolutions):
        inputs, outputs = (channels, 1) if convolution.depthwise else (channels, convolution.filters)
        shape = (convolution.kernel, convolution.kernel, inputs, outputs)
        fan = convolution.kernel**2 * (1 if convolution.depthwise else inputs)
        weights[convolution.name] = [rng.normal(0, np.sqrt(2 / fan), shape).astype(np.float32)]
        n = channels = convolution.filters
        weights[convolution.batch_norm] = [np.full(n, value, np.float32) for value in (1, 0, 0, 1)]
    head = (rng.normal(0, 0.1, (channels, findings)), rng.normal(0, 1, findings))
    weights[HEAD] = [array.astype(np.float32) for array in head]
    return weights


def operating_points(thresholds, name: str = "f1") -> dict[str, tuple[OperatingPoint, ...]]:
    """One operating point of these thresholds, None where there is none."""
    return {name: tuple(OperatingPoint(threshold=threshold) for threshold in thresholds)}


TESTED = "sensitivity@0.9"
"""Operating point of these bundles that was tested: at 0.1, but on the last finding, which has none."""


def tested_points(count: int) -> dict[str, tuple[OperatingPoint, ...]]:
    sensitivity = Rate(value=0.9, low=0.8, high=0.95, n=50)
    specificity = Rate(value=0.8, low=0.76, high=0.84, n=450)
    ppv, npv = Rate(value=45 / 135, low=0.2, high=0.5, n=135), Rate(value=360 / 365, low=None, high=None, n=365)
    point = OperatingPoint(threshold=0.1, sensitivity=sensitivity, specificity=specificity, ppv=ppv, npv=npv)
    return {TESTED: (point,) * (count - 1) + (OperatingPoint(threshold=None, lacking="it needs 29 patients"),)}


BAND = UncertainBand(low=0.4, high=0.6, error=0.1, inside=None, present_below=None, absent_above=None)


def make_bundle(folder: Path, seed: int = 0, findings: tuple[str, ...] = FINDINGS, **changes: Any) -> Path:
    """A bundle whose weights go by `seed`; `changes` are made to its card."""
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(TORCHVISION, alpha=ALPHA, input_size=INPUT_SIZE)
    model = classifier_graph(random_weights(seed, len(findings)), config, SIZE, findings).SerializeToString()
    (folder / MODEL).write_bytes(model)
    network = OnnxModel(model)
    card = Card(
        findings=findings,
        titles=tuple(finding.replace("_", " ") for finding in findings),
        status=("learned",) * len(findings),
        size=SIZE,
        input_size=INPUT_SIZE,
        bias=network.bias,
        calibration=Platt(findings, np.full(len(findings), 0.5), np.linspace(-1, 1, len(findings))).to_dict(),
        uncertain=(BAND,) * (len(findings) - 1) + (None,),
        explanation=("shown", *["unproven"] * (len(findings) - 1)),
        operating_points=operating_points(np.linspace(0.2, 0.8, len(findings)).tolist()) | tested_points(len(findings)),
        model_sha256=hashlib.sha256(model).hexdigest(),
        data_sha256="0" * 64,
        test_draws={},
        synthetic=True,
        params={},
        metrics={"test": METRICS},
        headlines=HEADLINES,
        intended_use="Tests.",
        licences=(),
    )
    write_card(card.model_copy(update=changes), folder)
    return folder
