"""Evaluate a model: calibration and operating points from validation, metrics from test."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset, label_cells
from chestxray.datasets.split import SPLITS, split_fingerprint
from chestxray.errors import UserError
from chestxray.evaluation.calibration import fit_platt
from chestxray.evaluation.decision_curves import decision_curves
from chestxray.evaluation.localization import Localization
from chestxray.evaluation.logits import logits_frame, predict_logits, predict_logits_and_gate, prepared_hashes
from chestxray.evaluation.operating_points import Threshold, fit_thresholds
from chestxray.evaluation.subgroups import card_subgroups, subgroup_table
from chestxray.evaluation.tested_points import (
    bands_table,
    measure_bands,
    measure_points,
    points_table,
    risk_coverage,
)
from chestxray.evaluation.uncertain import Band, fit_bands
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.bundle import Card
from chestxray.inference.decisions import decide, decided
from chestxray.inference.label_quality import known_quality
from chestxray.inference.onnx_model import OnnxModel
from chestxray.inference.operating_point import OperatingPoint
from chestxray.inference.platt import Platt
from chestxray.inference.provenance import SplitFacts
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
from chestxray.inference.uncertain import UncertainBand
from chestxray.labels import LabelMasks, check_scorable, has_both_classes, label_masks, patients_by_class
from chestxray.metrics.calibration_error import calibration_error
from chestxray.metrics.confusion import confusion_matrices
from chestxray.metrics.ranking import DECIMALS, curves
from chestxray.metrics.report import classification_report, evaluate
from chestxray.metrics.table import HEADLINES, Predictions
from chestxray.params import EvaluateParams, Params

INTENDED_USE = f"Research on multi-label classification of frontal chest radiographs. {RESEARCH_USE_ONLY}"
BAND_ERRORS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""Of the uncertain bands in the figure of what they cost and gain."""
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
        deciding = next(iter(self.operating_points.values()))
        return np.array([np.nan if point.threshold is None else point.threshold for point in deciding])

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


class Fitted(NamedTuple):
    """What is settled before test is looked at.

    Attributes:
        status: of the k findings.
        evidence: of the k findings, the patients behind it.
        platt: the calibration.
        thresholds: by operating point, k; the first one decides.
        bands: k uncertain bands.
        band_curve: those of several errors, by error.
    """

    status: tuple[Status, ...]
    evidence: tuple[Evidence, ...]
    platt: Platt
    thresholds: dict[str, tuple[Threshold, ...]]
    bands: tuple[Band, ...]
    band_curve: dict[float, tuple[Band, ...]]

    @property
    def deciding(self) -> npt.NDArray[np.float64]:
        """`(k,)` thresholds of the operating point that decides; NaN where there is none."""
        first = next(iter(self.thresholds.values()))
        return np.array([np.nan if cut.value is None else cut.value for cut in first])


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
        benchmark: batches whose images are the fixed test set.
        batches: that are measured each by itself.
        params: what intervals and groups need, and the error of the uncertain bands.

    Raises:
        UserError: no finding that has a number has both classes.
    """
    status = fitted.status
    labels = label_masks(test.labels, test.findings)
    check_scorable(labels.of(list(itertools.compress(test.findings, has_number(status)))))
    logits, gate = predict_logits_and_gate(model, test, "predicting test")
    before = Platt.identity(test.findings).probabilities(logits)
    after = fitted.platt.probabilities(logits)
    raw, scored = (
        predictions_of_numbered(test.findings, scores, fitted.deciding, status) for scores in (before, after)
    )

    def measured(part: npt.NDArray[np.bool_]) -> dict[str, Any]:
        known = labels.of(scored.findings).at(part)
        found = _metrics_if_scorable(known, raw.at(part), scored.at(part), test.patients[part], params)
        return found | {"patients_known": int(patient_known[part].all())}

    patient_known = test.studies["patient_known"].to_numpy(bool)
    batch = test.studies["batch"].to_numpy()
    parts = {name: batch == name for name in batches}
    metrics = {
        "test": measured(np.ones(len(batch), bool)),
        "benchmark": measured(np.isin(batch, benchmark)),
        "batch": {name: _without_findings(measured(part)) for name, part in parts.items()},
    }
    return Evaluation(
        status=status,
        evidence=fitted.evidence,
        platt=fitted.platt,
        operating_points=measure_points(labels, after, test.patients, fitted.thresholds, params.min_positives),
        uncertain=measure_bands(labels, after, test.patients, fitted.bands, params.uncertain, params.min_positives),
        risk_coverage=risk_coverage(labels, after, fitted.band_curve),
        net_benefit=decision_curves(labels, after, has_decision(status), test.patients, params.min_positives),
        metrics=metrics,
        subgroups=subgroup_table(labels, scored, test.studies, test.patients, params.min_n),
        logits=logits,
        gate=gate,
        uncalibrated=before,
        probabilities=after,
        decisions=decide(after, fitted.deciding, status),
        test=test,
    )


def fit_on_validation(
    logits: npt.NDArray[np.float32], validation: Dataset, evidence: tuple[Evidence, ...], params: EvaluateParams
) -> Fitted:
    """Fit calibration, operating points and uncertain bands; only learned findings have the latter two.

    Args:
        logits: of the validation images, N × k.
        validation: these images.
        evidence: of the k findings, the patients of training and of validation.
        params: of the operating points, and the patients that a finding needs.
    """
    status = tuple(finding_status(each, params.min_positives) for each in evidence)
    labels = label_masks(validation.labels, validation.findings)
    platt = fit_platt(logits, labels)
    learned = labels.hide(list(itertools.compress(validation.findings, ~has_decision(status))))
    images = learned, platt.probabilities(logits), validation.patients
    thresholds = {
        name: tuple(
            cut if each == "learned" else Threshold(None, f"the finding is {each}")
            for cut, each in zip(fit_thresholds(*images, name, params.confidence), status, strict=True)
        )
        for name in params.operating_points
    }
    curve = {error: fit_bands(*images, error) for error in sorted({*BAND_ERRORS, params.uncertain})}
    return Fitted(status, evidence, platt, thresholds, curve[params.uncertain], curve)


def gather_evidence(dataset: Dataset) -> tuple[Evidence, ...]:
    """Count the patients of each class of each finding in training and validation.

    Raises:
        UserError: training has images without and with no finding.
    """
    train, validation = (count_patients(dataset.split(split)) for split in ("train", "validation"))
    evidence = tuple(Evidence(train=some, validation=others) for some, others in zip(train, validation, strict=True))
    if not any(each.train.rarer for each in evidence):
        raise UserError(
            f"none of the {len(evidence)} findings can be learned: training has no images both with and without one; "
            "give labels of both kinds"
        )
    return evidence


def count_patients(part: Dataset) -> list[ClassPatients]:
    """Count the patients of each class of each finding."""
    present, absent = patients_by_class(label_masks(part.labels, part.findings), part.patients).tolist()
    return [ClassPatients(present=some, absent=others) for some, others in zip(present, absent, strict=True)]


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
    return f"{test_note(dataset)}, decided by {params.operating_points[0]} on validation"


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
        tables=dataset.tables,
        label_quality=known_quality(dataset.split("train").tables, dataset.synthetic, dataset.findings),
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


def split_facts(part: Dataset) -> SplitFacts:
    """Count the images and patients of one side of the split, and digest them."""
    return SplitFacts(images=len(part.studies), patients=len(set(part.patients)), sha256=part.digest)
