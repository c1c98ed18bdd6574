"""Evaluate a bundle on a folder that the pipeline knows nothing of, as the pipeline does on its test images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from chestxray.datasets.dataset import BatchFolders, Dataset, load_boxes, load_dataset
from chestxray.datasets.decode import decode_batch
from chestxray.datasets.prepare import prepare_batch
from chestxray.datasets.split import patient_fold
from chestxray.datasets.trained_on import TrainedOn
from chestxray.errors import UserError
from chestxray.evaluation.card import split_facts
from chestxray.evaluation.evaluate import Evaluation, measure
from chestxray.evaluation.fitted import Fitted, count_patients, fit_on_validation
from chestxray.evaluation.input_gate import gate_facts, good_images
from chestxray.evaluation.localization import Localization, localize
from chestxray.evaluation.logits import predict_logits
from chestxray.evaluation.operating_points import Threshold
from chestxray.evaluation.shuffled_network import shuffle_weights
from chestxray.evaluation.subgroups import card_subgroups
from chestxray.findings import Vocabulary
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import Card, write_card
from chestxray.inference.label_quality import known_quality
from chestxray.inference.measured import SCHEMA
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.platt import Platt
from chestxray.inference.status import Evidence
from chestxray.labels import check_scorable, label_masks
from chestxray.params import EvaluateParams, Findings, PrepareParams, ReadingParams

BATCH = "external"
"""What the folder's images are called in tables and in the card of a recalibrated bundle."""
PARTS = 2
"""A recalibration is fitted on one of so many parts of the patients, and measured on the rest."""
DRAWN = f"one of {PARTS} parts of the patients, by a hash of the id"
USUAL: dict[str, dict[str, Any]] = {
    "prepare": {"views": "frontal", "max_rejected": 0.05, "salt": BATCH},
    "evaluate": {"confidence": 0.95, "uncertain_error": 0.1, "min_positives": 10, "min_n": 10, "seed": 0},
}
"""Params that a bundle of before may lack."""
AS_THEY_ARE = "as they are"
"""Images that nobody vouches for."""


class External(NamedTuple):
    """A folder's images, all of them to measure on, and the boxes in them."""

    images: Dataset
    boxes: pd.DataFrame

    def at(self, images: "pd.Series[bool]") -> "External":
        """Return some of the images, and the boxes."""
        return External(Dataset(self.images.studies[images].reset_index(drop=True), self.images.images), self.boxes)


class Result(NamedTuple):
    """What came out.

    Attributes:
        evaluation: of the images.
        located: how well maps find the boxes in them.
        card: that both go with.
        refused: a row, how many of the images the input gate refuses; none of a model without one. See `gate_table`.
        fitted_on: images of the recalibration.
    """

    evaluation: Evaluation
    located: Localization
    card: Card
    refused: pd.DataFrame
    fitted_on: Dataset | None = None


def read_folder(
    root: Path, card: Card, reading: ReadingParams, scratch: Path, preparing: Mapping[str, Any] | None = None
) -> tuple[External, pd.DataFrame]:
    """Read, decode and prepare a folder as the model takes images, without its pipeline.

    Args:
        root: the folder, which is not written to.
        card: of the model.
        reading: what a person says of the table.
        scratch: an empty folder for the decoded images, which are memory-mapped.
        preparing: of `PrepareParams`, what a person says otherwise than the model has it; None is nothing.

    Returns:
        The images, and what was rejected, as `prepare_batch` has it.

    Raises:
        UserError: as `prepare_batch` does.
    """
    folders = BatchFolders(BATCH, scratch)
    said = {name: value for name, value in (preparing or {}).items() if value is not None}
    params = PrepareParams.model_validate(
        _known(card, "prepare", PrepareParams) | said | {"size": card.size, "test": 0.0, "validation": 0.0}
    )
    decode_batch(root, folders.decoded, params.size, reading.follow_links)
    rejected = prepare_batch(root, folders, params, _vocabulary(card), reading)
    dataset = load_dataset([folders])
    images = Dataset(dataset.studies.assign(split="test"), dataset.images)
    return External(images, load_boxes([folders])), rejected


def leave_out_known(found: External, known: TrainedOn | None) -> tuple[External, list[str]]:
    """Leave out the images and patients that the model was fitted on, and say how many they are.

    Raises:
        UserError: nothing is left.
    """
    if known is None:
        return found, ["training  whether the model was fitted on some of them can't be told: its bundle does not say"]
    images, patients = known.seen(found.images.studies)
    out = images | patients
    others = (patients & ~images).sum()
    said = f"{images.sum()} images that the model was fitted on, {others} others with ids of its patients"
    if others:
        said += "; should these be other people, keep them apart by --patients PREFIX"
    if out.all():
        raise UserError(f"nothing is left of {len(out)} images: {said}")
    if not found.images.patients_known:
        said += "; whose images these are is not known, so others of its patients may be among them"
    return found.at(pd.Series(~out)), [f"training  left out: {said}"]


def evaluate_external(bundle: Bundle, content: bytes, found: External) -> Result:
    """Measure a bundle as it is, with its own calibration, operating points and bands.

    Args:
        bundle: to measure.
        content: of its `model.onnx`.
        found: images that it was not trained on.
    """
    params = _evaluate_params(bundle.card)
    return _measured(bundle, content, found, fitted_of(bundle.card), params)


def recalibrate(bundle: Bundle, content: bytes, found: External) -> Result:
    """Fit calibration, operating points and bands on half of the patients, and measure on the others.

    Returns:
        With the card of a bundle of its own, which says so.

    Raises:
        UserError: a half has no images, the other one has both classes of no finding, or the bundle does not say how
            many patients its findings were learned from.
    """
    card, params = bundle.card, _evaluate_params(bundle.card)
    if not card.evidence:
        raise UserError("the bundle does not say from how many patients its findings were learned: train it again")
    fold = found.images.studies["patient"].map(lambda patient: patient_fold(patient, PARTS))
    first, rest = (found.at(fold == part) for part in range(PARTS))
    if first.images.studies.empty or rest.images.studies.empty:
        raise UserError("there are too few patients to recalibrate on some and to measure on others")
    check_scorable(label_masks(rest.images.labels, rest.images.findings))
    counts = zip(card.evidence, count_patients(first.images), strict=True)
    evidence = tuple(Evidence(train=each.train, validation=counted) for each, counted in counts)
    logits = predict_logits(bundle.model, first.images, "predicting images to recalibrate on")
    result = _measured(bundle, content, rest, fit_on_validation(logits, first.images, evidence, params), params)
    evaluation, located = result.evaluation, result.located
    changes = {
        "schema_version": SCHEMA,
        "status": evaluation.status,
        "evidence": evidence,
        "calibration": evaluation.platt.to_dict(),
        "operating_points": evaluation.operating_points,
        "uncertain": evaluation.uncertain,
        "metrics": evaluation.metrics,
        "subgroups": card_subgroups(evaluation.subgroups),
        "explanation": located.explanations(),
        "localization": located.by_finding(),
        "input_gate": gate_facts(bundle.model, result.refused, {}),
        "splits": {side: facts for side, facts in card.splits.items() if side == "train"}
        | {"validation": split_facts(first.images), "test": split_facts(rest.images)},
        "test_label_quality": known_quality(found.images.real_tables, card.findings),
        "test_draws": {BATCH: DRAWN},
        "patients_known": found.images.patients_known,
        "recalibrated": True,
    }
    return result._replace(card=result.card.model_copy(update=changes), fitted_on=first.images)


def write_bundle(result: Result, content: bytes, known: TrainedOn | None, folder: Path) -> None:
    """Write the bundle of a recalibration.

    Args:
        result: of it.
        content: of `model.onnx`.
        known: what the model was trained on, to which the images of the recalibration come.
        folder: to make.
    """
    folder.mkdir(parents=True)
    (folder / MODEL).write_bytes(content)
    if known is not None and result.fitted_on is not None:
        known.with_images(result.fitted_on.studies).write(folder)
    write_card(result.card, folder)


def fitted_of(card: Card) -> Fitted:
    """Return what a bundle has settled: its own calibration, operating points and bands."""
    thresholds = {
        name: tuple(Threshold(point.threshold, point.lacking) for point in points)
        for name, points in card.operating_points.items()
    }
    known = card.uncertain or (None,) * len(card.findings)
    bands = tuple(None if band is None else (band.low, band.high) for band in known)
    curve = {band.error: bands for band in card.uncertain if band is not None}
    platt = Platt.from_dict(card.calibration, card.findings)
    return Fitted(card.status, card.evidence, platt, thresholds, bands, curve)


def _measured(bundle: Bundle, content: bytes, found: External, fitted: Fitted, params: EvaluateParams) -> Result:
    if len(np.unique(found.images.patients)) < 2:
        raise UserError("the images are all of one patient: intervals need more")
    evaluation = measure(bundle.model, found.images, fitted, (), (BATCH,), params)
    shuffled = OnnxModel(shuffle_weights(content, params.seed))
    located = localize(bundle.model, shuffled, found.images, found.boxes, params.min_positives)
    params_used = bundle.card.params | {"evaluate": params.model_dump(mode="json")}
    refused = good_images(bundle.model, found.images, evaluation.gate, AS_THEY_ARE)
    if not evaluation.gate.shape[1]:
        refused = refused.head(0)
    return Result(evaluation, located, bundle.card.model_copy(update={"params": params_used}), refused)


def _evaluate_params(card: Card) -> EvaluateParams:
    errors = {band.error for band in card.uncertain if band is not None}
    settled = {"operating_points": list(card.operating_points), "benchmark": [], "benchmark_sha256": None}
    error = {"uncertain_error": errors.pop()} if len(errors) == 1 else {}
    return EvaluateParams.model_validate(_known(card, "evaluate", EvaluateParams) | settled | error)


def _known(card: Card, section: str, params: type[PrepareParams] | type[EvaluateParams]) -> dict[str, Any]:
    """Return the params of a bundle's section that are known here, and the usual ones where it has none."""
    own = card.params.get(section)
    given = own if isinstance(own, dict) else {}
    return USUAL[section] | {key: value for key, value in given.items() if key in params.model_fields}


def _vocabulary(card: Card) -> Vocabulary:
    """Return the findings of a model, and by what names tables call those that are NIH's."""
    findings = TypeAdapter(Findings).validate_python(
        {name: {"title": title} for name, title in zip(card.findings, card.titles, strict=True)}
    )
    signs = {finding.sign: name for name, finding in findings.items() if finding.sign}
    return Vocabulary({name: finding.synonyms for name, finding in findings.items()}, signs)
