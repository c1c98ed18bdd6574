"""Evaluate a model: calibration and operating points from validation, metrics from test."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset, label_cells
from chestxray.errors import UserError
from chestxray.evaluation.decision_curves import decision_curves
from chestxray.evaluation.fitted import Fitted, fit_on_validation, gather_evidence
from chestxray.evaluation.logits import logits_frame, predict_logits, predict_logits_and_gate, prepared_hashes
from chestxray.evaluation.subgroups import subgroup_table
from chestxray.evaluation.tested_points import (
    bands_table,
    measure_bands,
    measure_points,
    points_table,
    risk_coverage,
)
from chestxray.inference.decisions import decide, decided
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.operating_point import OperatingPoint, threshold_values
from chestxray.inference.platt import Platt
from chestxray.inference.status import (
    PATIENTS_UNKNOWN,
    Evidence,
    Status,
    finding_status,
    has_decision,
    has_number,
    named_number,
)
from chestxray.inference.uncertain import UncertainBand
from chestxray.labels import LabelMasks, check_scorable, has_both_classes, label_masks
from chestxray.metrics.calibration_error import calibration_error
from chestxray.metrics.confusion import confusion_matrices
from chestxray.metrics.ranking import DECIMALS, curves
from chestxray.metrics.report import classification_report, evaluate
from chestxray.metrics.table import Predictions
from chestxray.params import EvaluateParams


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a model on a data set.

    Attributes:
        status: of the k findings.
        evidence: of the k findings, the patients behind it.
        platt: fitted on validation.
        operating_points: of the findings that are learned, from validation, with what they are worth on test; the first
            one decides.
        uncertain: the bands of the findings that are learned.
        risk_coverage: what bands of other errors would leave to decide; see `tested_points.risk_coverage`.
        net_benefit: decision curves; see `decision_curves`.
        metrics: nested finite numbers: `test.*` (all batches), `benchmark.*` (the fixed yardstick), `batch.<name>.*`;
            of what is not learned none, of what is insufficient the ranking; `patients_known` is 0 where each image
            counts as a patient.
        subgroups: a row a group of the test images and finding; see `subgroup_table`.
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
    operating_points: dict[str, tuple[OperatingPoint, ...]]
    uncertain: tuple[UncertainBand | None, ...]
    risk_coverage: pd.DataFrame
    net_benefit: pd.DataFrame
    metrics: dict[str, Any]
    subgroups: pd.DataFrame
    logits: npt.NDArray[np.float32]
    gate: npt.NDArray[np.float32]
    uncalibrated: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    decisions: npt.NDArray[np.bool_]
    test: Dataset

    @property
    def thresholds(self) -> npt.NDArray[np.float64]:
        """`(k,)` of the operating point that decides, on calibrated probabilities; NaN where there is no decision."""
        return threshold_values(next(iter(self.operating_points.values())))

    @property
    def labels(self) -> LabelMasks:
        """Labels of the test images."""
        return label_masks(self.test.labels, self.test.findings)

    def confusion(self) -> pd.DataFrame:
        """Count right and wrong decisions on the test images, a row a finding that is decided on."""
        table = confusion_matrices(self.labels, self.decisions)
        return table[decided(self.thresholds, self.status)].reset_index(drop=True)

    def curves(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Compute the ROC and precision-recall curves of the findings that have a number, on the test images."""
        numberless = list(itertools.compress(self.test.findings, ~has_number(self.status)))
        return curves(self.labels.hide(numberless), self.probabilities)

    def report(self) -> pd.DataFrame:
        """Tabulate a row a finding with its status, then the averages, on the test images; empty what is not known."""
        table = classification_report(self.labels, self.decisions, self.thresholds, self.metrics["test"])
        table.insert(1, "status", pd.Series(self.status))
        return table

    def points(self) -> pd.DataFrame:
        """Tabulate the operating points; see `points_table`."""
        return points_table(self.test.findings, self.operating_points)

    def bands(self) -> pd.DataFrame:
        """Tabulate the uncertain bands; see `bands_table`."""
        return bands_table(self.test.findings, self.uncertain)

    def test_logits(self) -> pd.DataFrame:
        """Tabulate the logits of the test images by content hash and finding."""
        return logits_frame(prepared_hashes(self.test), self.logits, self.test.findings)

    def predictions(self) -> pd.DataFrame:
        """Tabulate a row a test image: batch, image, patient, then of each finding its truth, its status, its number as
        a probability or a score, and the decision.

        Truth is empty where the image does not label the finding; number and decision where the status says so.
        """
        columns: dict[str, Any] = {name: self.test.studies[name] for name in ("batch", "image", "patient")}
        with_decision = decided(self.thresholds, self.status)
        for place, (finding, status) in enumerate(zip(self.test.findings, self.status, strict=True)):
            columns[f"{finding}_truth"] = label_cells(self.test.studies[finding])
            columns[f"{finding}_status"] = status
            for name, numbers in named_number(status, self.probabilities[:, place]).items():
                columns[f"{finding}_{name}"] = numbers
            columns[f"{finding}_decision"] = self.decisions[:, place].astype(np.int8) if with_decision[place] else None
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
    logits = predict_logits(model, validation, "predicting validation")
    fitted = fit_on_validation(logits, validation, evidence, params)
    return measure(model, test, fitted, benchmark, tuple(dataset.studies["batch"].unique()), params)


def measure(
    model: OnnxModel,
    test: Dataset,
    fitted: Fitted,
    benchmark: tuple[str, ...],
    batches: tuple[str, ...],
    params: EvaluateParams,
) -> Evaluation:
    """Measure a model on test images, whoever fitted its calibration and operating points on others.

    Args:
        model: to measure.
        test: images that it was not fitted on, of at least two patients.
        fitted: its calibration and operating points.
        benchmark: batches whose images are the fixed test set; where there are none, nothing is said of it.
        batches: that are measured each by itself.
        params: what intervals and groups need, and the error of the uncertain bands.

    Returns:
        Without both classes of any finding, `metrics` are counts alone; the operating points have what can be told.

    Raises:
        UserError: the images label no finding that has a number.
    """
    status = fitted.status
    labels = label_masks(test.labels, test.findings)
    if not labels.of(list(itertools.compress(test.findings, has_number(status)))).labelled.any():
        raise UserError(f"these {len(labels)} images label no finding that the model has learned: give such labels")
    logits, gate = predict_logits_and_gate(model, test, "predicting test")
    before = Platt.identity(test.findings).probabilities(logits)
    after = fitted.platt.probabilities(logits)
    raw, scored = (
        predictions_of_numbered(test.findings, scores, fitted.deciding, status) for scores in (before, after)
    )

    parts = {"test": np.ones(len(after), bool)}
    if benchmark:
        parts["benchmark"] = test.studies["batch"].isin(benchmark).to_numpy()
    each_batch = {name: (test.studies["batch"] == name).to_numpy() for name in batches}

    def measured(part: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return _metrics_if_scorable(labels, raw, scored, test, part, params)

    return Evaluation(
        status=status,
        evidence=fitted.evidence,
        platt=fitted.platt,
        operating_points=measure_points(labels, after, test.patients, fitted.thresholds, params.min_positives),
        uncertain=measure_bands(
            labels, after, test.patients, fitted.bands, params.uncertain_error, params.min_positives
        ),
        risk_coverage=risk_coverage(labels, after, fitted.band_curve),
        net_benefit=decision_curves(labels, after, has_decision(status), test.patients, params.min_positives),
        metrics={
            **{name: measured(part) for name, part in parts.items()},
            "batch": {name: _without_findings(measured(part)) for name, part in each_batch.items()},
        },
        subgroups=subgroup_table(labels, scored, test.studies, test.patients, params.min_n),
        logits=logits,
        gate=gate,
        uncalibrated=before,
        probabilities=after,
        decisions=decide(after, fitted.deciding, status),
        test=test,
    )


def predictions_of_numbered(
    findings: Sequence[str], probabilities: npt.ArrayLike, thresholds: npt.NDArray[np.float64], status: Sequence[Status]
) -> Predictions:
    """Put together what a model predicts of the findings that have a number: nothing else is measured or compared.

    Args:
        findings: of the model, k names.
        probabilities: `(n, k)` in 0..1.
        thresholds: `(k,)`; NaN where there is none.
        status: of the k findings.
    """
    masks = has_number(status), ~decided(thresholds, status)
    numbered, undecided = (itertools.compress(findings, mask) for mask in masks)
    decisions = decide(probabilities, thresholds, status)
    return Predictions(tuple(findings), probabilities, decisions, tuple(undecided)).of(tuple(numbered))


def _metrics_if_scorable(
    labels: LabelMasks,
    before: Predictions,
    after: Predictions,
    test: Dataset,
    part: npt.NDArray[np.bool_],
    params: EvaluateParams,
) -> dict[str, Any]:
    """Compute the metrics of a part of the test images, before and after calibration.

    Where none can be scored these are counts alone; `patients_known` is 0 where each image counts as a patient.
    """
    labels, patients, after = labels.of(after.findings).at(part), test.patients[part], after.at(part)
    patients_known = int(test.studies["patient_known"].to_numpy(bool)[part].all())
    people = len(set(patients))
    if people < 2 or not has_both_classes(labels).any():
        counts = {"n": len(labels), "patients": people, "findings_scored": 0, "findings_averaged": 0}
        return counts | {"patients_known": patients_known}
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
        errors = calibration_error(labels.of(averaged), before.at(part).of(averaged).probabilities)
        metrics["calibration_error_before"] = round(errors["mean"], DECIMALS)
    return metrics | {"patients_known": patients_known}


def _without_findings(metrics: dict[str, Any]) -> dict[str, Any]:
    """Leave out what has a value for each finding."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def evaluation_note(dataset: Dataset, params: EvaluateParams) -> str:
    """Say in a line for figures what the images are and how the operating points were chosen."""
    return f"{test_note(dataset)}, decided by {params.operating_points[0]} on validation"


def test_note(dataset: Dataset) -> str:
    """Say in a line for figures what the test images are, and whether their patients are known."""
    return f"{dataset.kind}, test side" + ("" if dataset.patients_known else f", {PATIENTS_UNKNOWN}")
