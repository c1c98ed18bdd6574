"""Put together what a bundle says of itself: the card, from the evaluation, the data and the params."""

import hashlib
from typing import Any

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import SPLITS, split_fingerprint
from chestxray.evaluation.evaluate import Evaluation
from chestxray.evaluation.localization import Localization
from chestxray.evaluation.subgroups import card_subgroups
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.card import Card
from chestxray.inference.label_quality import known_quality
from chestxray.inference.measured import SCHEMA
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.provenance import BatchFacts, SplitFacts
from chestxray.metrics.table import HEADLINES
from chestxray.params import Params

INTENDED_USE = {"frontal": "frontal chest radiographs", "all": "chest radiographs of all views"}
LICENCES = {
    "imagenet": ("ImageNet weights of MobileNetV2: torchvision, BSD-3-Clause",),
    "keras": ("ImageNet weights of MobileNetV2: Keras Applications, Apache-2.0",),
    "random": (),
}
"""Of the weights that training starts from, by `backbone.weights`."""
OWN_WEIGHTS = ("the weights that training began with: a file of one's own, its licence is not known here",)
NIH_LICENCE = (
    "NIH ChestX-ray14, where trained on it: NIH Clinical Center, free with attribution; cite Wang et al., CVPR 2017"
)
SECTIONS = {
    "prepare", "backbone", "head", "class_weighting", "features", "train", "fine_tune", "input_gate", "evaluate",
}  # fmt: skip
"""Of the params, those that make a model."""


def make_card(
    model: OnnxModel,
    evaluation: Evaluation,
    dataset: Dataset,
    params: Params,
    content: bytes,
    input_gate: dict[str, Any] | None = None,
    located: Localization | None = None,
) -> Card:
    """Make the card of the bundle.

    Args:
        model: that was evaluated.
        evaluation: of it.
        dataset: all batches.
        params: that made it.
        content: of `model.onnx`.
        input_gate: its thresholds and the shares that it refuses, as `gate_facts` gives them.
        located: how well its maps find boxes; None if that was not tried.
    """
    return Card(
        schema_version=SCHEMA,
        findings=dataset.findings,
        titles=tuple(params.findings[finding].title for finding in dataset.findings),
        status=evaluation.status,
        evidence=evaluation.evidence,
        size=model.size,
        input_size=model.input_size,
        bias=model.bias,
        calibration=evaluation.platt.to_dict(),
        operating_points=evaluation.operating_points,
        uncertain=evaluation.uncertain,
        explanation=located.explanations() if located else (),
        localization=located.by_finding() if located else (),
        subgroups=card_subgroups(evaluation.subgroups),
        model_sha256=hashlib.sha256(content).hexdigest(),
        data_sha256=dataset.split("train").digest,
        synthetic=dataset.synthetic,
        patients_known=dataset.patients_known,
        splits={split: split_facts(dataset.split(split)) for split in SPLITS},
        label_quality=known_quality(dataset.split("train").real_tables, dataset.findings),
        test_draws=split_fingerprint(dataset.split("test").studies, params.prepare),
        params={
            "batches": list(params.batches),
            **params.model_dump(mode="json", include=SECTIONS),
        },
        metrics=evaluation.metrics,
        input_gate=input_gate or {},
        headlines={metric.name: metric.title for metric in HEADLINES},
        intended_use=(
            f"Research on multi-label classification of {INTENDED_USE[params.prepare.views]}. {RESEARCH_USE_ONLY}"
        ),
        licences=(*LICENCES.get(params.backbone.weights, OWN_WEIGHTS), NIH_LICENCE),
    )


def split_facts(part: Dataset) -> SplitFacts:
    """Count the images and patients of one side of the split, and of each of its batches, and digest them."""
    batches = {batch: part.of_batch(batch) for batch in part.tables}
    return SplitFacts(
        **_facts(part),
        batches={
            name: BatchFacts(**_facts(each), table=each.tables[name], synthetic=each.synthetic)
            for name, each in batches.items()
        },
    )


def _facts(part: Dataset) -> dict[str, Any]:
    return {"images": len(part.studies), "patients": len(set(part.patients)), "sha256": part.digest}
