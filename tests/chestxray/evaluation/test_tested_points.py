"""What operating points are worth on test: one number with one interval, which covers the population's."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from chestxray.evaluation.operating_points import Threshold
from chestxray.evaluation.tested_points import measure_points, points_table
from chestxray.inference.operating_point import OperatingPoint
from chestxray.labels import LabelMasks, label_masks
from chestxray.metrics.report import evaluate

FINDINGS = ("Effusion", "Mass")
PREVALENCE = np.array([0.1, 0.05])
Drawn = tuple[LabelMasks, npt.NDArray[np.float64], npt.NDArray[np.intp]]


def draw(seed: int) -> Drawn:
    """Draw 230 patients of one to three images, with findings that a score of 1.5 standard deviations shows."""
    generator = np.random.default_rng(seed)
    patients = np.arange(230).repeat(generator.integers(1, 4, 230))
    truth = generator.random((len(patients), 2)) < PREVALENCE
    scores = ndtr(generator.normal(size=truth.shape) + 1.5 * truth - 1)
    return label_masks(truth, FINDINGS), scores, patients


def measured(drawn: Drawn) -> tuple[OperatingPoint, ...]:
    return measure_points(*drawn, {"f1": (Threshold(0.5), Threshold(0.5))}, min_patients=10)["f1"]


def test_ppv_and_npv_are_those_of_the_tables_of_metrics() -> None:
    labels, scores, patients = draw(0)
    points = measured((labels, scores, patients))
    metrics = evaluate(labels, scores, scores >= 0.5, patients, min_positives=10)
    table = points_table(FINDINGS, {"f1": points}).set_index("finding")
    for name, point in zip(FINDINGS, points, strict=True):
        assert point.ppv is not None and point.npv is not None
        ends = [metrics[f"precision_ci_{end}"][name] for end in ("low", "high")]
        assert [point.ppv.value, point.ppv.low, point.ppv.high] == [metrics["precision"][name], *ends]
        assert (point.npv.value, point.npv.low) == (metrics["npv"][name], None)
        assert table.loc[name, "ppv_ci_low"] == point.ppv.low and pd.isna(table.loc[name, "npv_ci_low"])
        assert point.ppv.n + point.npv.n == len(labels)
        assert point.specificity is not None
        ends = [metrics[f"specificity_ci_{end}"][name] for end in ("low", "high")]
        assert [point.specificity.value, point.specificity.low, point.specificity.high] == [
            metrics["specificity"][name],
            *ends,
        ]


def test_a_finding_of_few_patients_has_no_interval_here_either() -> None:
    labels, scores, patients = draw(0)
    few = np.flatnonzero(labels.present[:, 1])[:3]
    present = labels.present.copy()
    present[:, 1] = np.isin(np.arange(len(labels)), few)
    point = measured((label_masks(present, FINDINGS), scores, patients))[1]
    for rate in (point.sensitivity, point.specificity, point.ppv, point.npv):
        assert rate is not None and rate.low is None and rate.high is None


def test_the_interval_of_ppv_covers_that_of_the_population() -> None:
    hits, alarms = PREVALENCE * ndtr(0.5), (1 - PREVALENCE) * ndtr(-1)
    truth = hits / (hits + alarms)
    inside = []
    for seed in range(60):
        found = [point.ppv for point in measured(draw(seed))]
        inside += [
            each.low <= true <= each.high
            for each, true in zip(found, truth, strict=True)
            if each is not None and each.low is not None and each.high is not None
        ]
    assert len(inside) > 100 and np.mean(inside) > 0.92  # 0.81 if the prevalence of test were taken as known
