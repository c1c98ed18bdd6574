"""Evaluate a model: calibration and operating points from validation, metrics from test."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset, label_cells
from chestxray.datasets.split import split_fingerprint
from chestxray.errors import UserError
from chestxray.evaluation.calibration import fit_platt
from chestxray.evaluation.logits import logits_frame, predict_logits, predict_logits_and_gate, prepared_hashes
from chestxray.evaluation.thresholds import NEVER, fit_thresholds
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.bundle import Card
from chestxray.inference.decisions import decide
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.platt import Platt
from chestxray.inference.status import (
    PATIENTS_UNKNOWN,
    ClassPatients,
    Evidence,
    Status,
    finding_status,
    has_decision,
    has_number,
    named_number,
)
from chestxray.labels import LabelMasks, check_scorable, has_both_classes, label_masks, patients_by_class
from chestxray.metrics.calibration_error import calibration_error
from chestxray.metrics.confusion import confusion_matrices
from chestxray.metrics.ranking import DECIMALS, curves
from chestxray.metrics.report import classification_report, evaluate
from chestxray.metrics.table import HEADLINES, Predictions
from chestxray.params import EvaluateParams, Params

INTENDED_USE = f"Research on multi-label classification of frontal chest radiographs. {RESEARCH_USE_ONLY}"
LICENCES = (
    "ImageNet weights of MobileNetV2: torchvision, BSD-3-Clause",
    "NIH ChestX-ray14, where trained on it: NIH Clinical Center, free with attribution; cite Wang et al., CVPR 2017",
)


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a model on a data set.

    Attributes:
        status: of the k findings.
        evidence: of the k findings, the patients behind it.
        platt: fitted on validation.
        thresholds: on calibrated probabilities, fitted on validation, k; 1 where there is no decision.
        metrics: nested finite numbers: `test.*` (all batches), `benchmark.*` (the fixed yardstick), `batch.<name>.*`;
            of what is not learned none, of what is insufficient the ranking; `patients_known` is 0 where each image
            counts as a patient.
        logits: of the test images, N × k.
        gate: scores of the input gate, of the test images, N × G.
        uncalibrated: probabilities before calibration, N × k.
        probabilities: calibrated, N × k; to be shown where the finding's status allows it.
        decisions: bool, N × k; false where there are none.
        test: the test images.
    """

    status: tuple[Status, ...]
    evidence: tuple[Evidence, ...]
    platt: Platt
    thresholds: npt.NDArray[np.float64]
    metrics: dict[str, Any]
    logits: npt.NDArray[np.float32]
    gate: npt.NDArray[np.float32]
    uncalibrated: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    decisions: npt.NDArray[np.bool_]
    test: Dataset

    @property
    def labels(self) -> LabelMasks:
        """Labels of the test images."""
        return label_masks(self.test.labels, self.test.findings)

    def confusion(self) -> pd.DataFrame:
        """Count right and wrong decisions on the test images, a row a learned finding."""
        table = confusion_matrices(self.labels, self.decisions)
        return table[has_decision(self.status)].reset_index(drop=True)

    def curves(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Compute the ROC and precision-recall curves of the findings that have a number, on the test images."""
        numberless = list(itertools.compress(self.test.findings, ~has_number(self.status)))
        return curves(self.labels.hide(numberless), self.probabilities)

    def report(self) -> pd.DataFrame:
        """Tabulate a row a finding with its status, then the averages, on the test images; empty what is not known."""
        cuts = np.where(has_decision(self.status), self.thresholds, np.nan)
        table = classification_report(self.labels, self.decisions, cuts, self.metrics["test"])
        table.insert(1, "status", pd.Series(self.status))
        return table

    def test_logits(self) -> pd.DataFrame:
        """Tabulate the logits of the test images by content hash and finding."""
        return logits_frame(prepared_hashes(self.test), self.logits, self.test.findings)

    def predictions(self) -> pd.DataFrame:
        """Tabulate a row a test image: batch, image, patient, then of each finding its truth, its status, its number as
        a probability or a score, and the decision.

        Truth is empty where the image does not label the finding; number and decision where the status says so.
        """
        columns: dict[str, Any] = {name: self.test.studies[name] for name in ("batch", "image", "patient")}
        decided = has_decision(self.status)
        for place, (finding, status) in enumerate(zip(self.test.findings, self.status, strict=True)):
            columns[f"{finding}_truth"] = label_cells(self.test.studies[finding])
            columns[f"{finding}_status"] = status
            for name, numbers in named_number(status, self.probabilities[:, place]).items():
                columns[f"{finding}_{name}"] = numbers
            columns[f"{finding}_decision"] = self.decisions[:, place].astype(np.int8) if decided[place] else None
        return pd.DataFrame(columns)


def evaluate_model(
    model: OnnxModel, dataset: Dataset, benchmark: tuple[str, ...], params: EvaluateParams
) -> Evaluation:
    """Fit calibration and operating points on validation, then look at test, once.

    Args:
        model: to evaluate.
        dataset: all batches.
        benchmark: batches whose test images are the fixed test set.
        params: of the operating points, and the patients that a finding needs.

    Raises:
        UserError: validation or test has no images, all test images are of one patient, training has no finding with
            both classes, or test none of those that training has.
    """
    validation = dataset.split("validation")
    test = dataset.split("test")
    for split, images in (("validation", validation), ("test", test)):
        if images.studies.empty:
            raise UserError(f"no {split} images: give more patients, or raise prepare.{split}")
    if len(set(test.patients)) < 2:
        raise UserError("the test images are all of one patient: give more patients, or raise prepare.test")
    evidence = gather_evidence(dataset)
    status = tuple(finding_status(each, params.min_positives) for each in evidence)
    labels = label_masks(test.labels, test.findings)
    check_scorable(labels.of(list(itertools.compress(test.findings, has_number(status)))))
    known = label_masks(validation.labels, validation.findings)
    logits = predict_logits(model, validation, "predicting validation")
    platt = fit_platt(logits, known)
    fitted = fit_thresholds(known, platt.probabilities(logits), params.threshold_policy)
    thresholds = np.where(has_decision(status), fitted, NEVER)
    logits, gate = predict_logits_and_gate(model, test, "predicting test")
    before = Platt.identity(test.findings).probabilities(logits)
    after = platt.probabilities(logits)
    decisions = decide(after, thresholds, status)
    raw, calibrated = (predictions_of_numbered(test.findings, scores, decisions, status) for scores in (before, after))

    def measured(part: npt.NDArray[np.bool_]) -> dict[str, Any]:
        known = labels.of(calibrated.findings).at(part)
        found = _metrics_if_scorable(known, raw.at(part), calibrated.at(part), test.patients[part], params)
        return found | {"patients_known": int(patient_known[part].all())}

    patient_known = test.studies["patient_known"].to_numpy(bool)
    batch = test.studies["batch"].to_numpy()
    parts = {name: batch == name for name in dataset.studies["batch"].unique()}
    metrics = {
        "test": measured(np.ones(len(batch), bool)),
        "benchmark": measured(np.isin(batch, benchmark)),
        "batch": {name: _without_findings(measured(part)) for name, part in parts.items()},
    }
    return Evaluation(status, evidence, platt, thresholds, metrics, logits, gate, before, after, decisions, test)


def gather_evidence(dataset: Dataset) -> tuple[Evidence, ...]:
    """Count the patients of each class of each finding in training and validation.

    Raises:
        UserError: training has images without and with no finding.
    """
    counts = []
    for split in (dataset.split("train"), dataset.split("validation")):
        present, absent = patients_by_class(label_masks(split.labels, split.findings), split.patients).tolist()
        counts.append(
            [ClassPatients(present=some, absent=others) for some, others in zip(present, absent, strict=True)]
        )
    evidence = tuple(Evidence(train=train, validation=validation) for train, validation in zip(*counts, strict=True))
    if not any(each.train.rarer for each in evidence):
        raise UserError(
            f"none of the {len(evidence)} findings can be learned: training has no images both with and without one; "
            "give labels of both kinds"
        )
    return evidence


def predictions_of_numbered(
    findings: Sequence[str], probabilities: npt.ArrayLike, decisions: npt.ArrayLike, status: Sequence[Status]
) -> Predictions:
    """Put together what a model predicts of the findings that have a number: nothing else is measured or compared.

    Args:
        findings: of the model, k names.
        probabilities: `(n, k)` in 0..1.
        decisions: `(n, k)` of 0 and 1.
        status: of the k findings.
    """
    numbered, undecided = (itertools.compress(findings, mask) for mask in (has_number(status), ~has_decision(status)))
    return Predictions(tuple(findings), probabilities, decisions, tuple(undecided)).of(tuple(numbered))


def _metrics_if_scorable(
    labels: LabelMasks,
    before: Predictions,
    after: Predictions,
    patients: npt.NDArray[np.str_],
    params: EvaluateParams,
) -> dict[str, Any]:
    """Compute the metrics of some test images, before and after calibration; counts alone where none can be scored."""
    people = len(set(patients))
    if people < 2 or not has_both_classes(labels).any():
        return {"n": len(labels), "patients": people, "findings_scored": 0, "findings_averaged": 0}
    metrics = evaluate(
        labels,
        after.probabilities,
        after.decisions,
        patients,
        min_positives=params.min_positives,
        ranked_only=after.ranked_only,
    )
    if "calibration_error" in metrics:
        averaged = [name for name in metrics["auroc_ci_low"] if name not in after.ranked_only]
        errors = calibration_error(labels.of(averaged), before.of(averaged).probabilities)
        metrics["calibration_error_before"] = round(errors["mean"], DECIMALS)
    return metrics


def _without_findings(metrics: dict[str, Any]) -> dict[str, Any]:
    """Leave out what has a value for each finding."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def evaluation_note(dataset: Dataset, params: EvaluateParams) -> str:
    """Say in a line for figures what the images are and how the operating points were chosen."""
    return f"{test_note(dataset)}, operating points by {params.threshold_policy} on validation"


def test_note(dataset: Dataset) -> str:
    """Say in a line for figures what the test images are, and whether their patients are known."""
    return f"{dataset.kind}, test side" + ("" if dataset.patients_known else f", {PATIENTS_UNKNOWN}")


def make_card(
    model: OnnxModel,
    evaluation: Evaluation,
    dataset: Dataset,
    params: Params,
    content: bytes,
    input_gate: dict[str, Any] | None = None,
) -> Card:
    """Make the card of the bundle.

    Args:
        model: that was evaluated.
        evaluation: of it.
        dataset: all batches.
        params: that made it.
        content: of `model.onnx`.
        input_gate: its thresholds and the shares that it refuses, as `gate_facts` gives them.
    """
    return Card(
        findings=dataset.findings,
        titles=tuple(params.findings[finding].title for finding in dataset.findings),
        status=evaluation.status,
        evidence=evaluation.evidence,
        size=model.size,
        input_size=model.input_size,
        bias=model.bias,
        calibration=evaluation.platt.to_dict(),
        thresholds=tuple(evaluation.thresholds.tolist()),
        model_sha256=hashlib.sha256(content).hexdigest(),
        data_sha256=dataset.split("train").digest,
        synthetic=dataset.synthetic,
        patients_known=dataset.patients_known,
        test_draws=split_fingerprint(dataset.split("test").studies, params.prepare),
        params={
            "batches": list(params.batches),
            **params.model_dump(mode="json", include={"prepare", "backbone", "class_weighting", "features"}),
            **params.model_dump(mode="json", include={"train", "fine_tune", "input_gate", "evaluate"}),
        },
        metrics=evaluation.metrics,
        input_gate=input_gate or {},
        headlines={metric.name: metric.title for metric in HEADLINES},
        intended_use=INTENDED_USE,
        licences=LICENCES,
    )
