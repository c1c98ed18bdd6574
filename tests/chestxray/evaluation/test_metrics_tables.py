"""A few headlines, everything else in tables beside them."""

import numpy as np
import pandas as pd
import pytest

from chestxray.evaluation.metrics_tables import (
    headline_metrics,
    metrics_by_finding,
    metrics_by_part,
    metrics_with_intervals,
)
from chestxray.labels import label_masks
from chestxray.metrics.report import evaluate


def measured(findings: int, min_positives: int = 5) -> dict[str, object]:
    generator = np.random.default_rng(findings)
    labels = label_masks(generator.random((80, findings)) < 0.4, [f"finding {i}" for i in range(findings)])
    scores = generator.random((80, findings))
    return evaluate(labels, scores, scores > 0.5, np.arange(80).astype(str), min_positives=min_positives)


def metrics(findings: int, batches: int, min_positives: int = 5) -> dict[str, dict[str, object]]:
    every = measured(findings, min_positives)
    numbers = {name: value for name, value in every.items() if not isinstance(value, dict)}
    return {"test": every, "benchmark": every, "batch": {f"b{i}": numbers for i in range(batches)}}


@pytest.mark.parametrize(("findings", "batches"), [(1, 1), (14, 1), (60, 40)])
def test_the_headlines_are_few_however_many_findings_and_batches(findings: int, batches: int) -> None:
    found = metrics(findings, batches)
    chosen = metrics_with_intervals(found)
    assert sum(map(len, chosen.values())) <= 25
    assert chosen["test"]["mean_auroc_ci_low"] <= chosen["test"]["mean_auroc"] <= chosen["test"]["mean_auroc_ci_high"]
    assert all(found[part][name] == value for part, values in chosen.items() for name, value in values.items())
    flat = {f"{part}.{name}" for part, values in headline_metrics(found).items() for name in values}
    assert len("    ".join(["reports/headlines.json", *flat])) <= 120


def test_with_too_few_patients_the_means_are_over_all_findings_and_say_so() -> None:
    found = metrics(3, 1, min_positives=70)
    assert headline_metrics(found)["benchmark"] == {"mean_auroc_of_all": found["test"]["mean_auroc_of_all"]}
    assert "macro_f1_of_all" in metrics_with_intervals(found)["test"]


def test_the_tables_hold_every_number() -> None:
    found = metrics(4, 2)
    found["benchmark"] = {"n": 1, "patients": 1, "findings_scored": 0, "findings_averaged": 0}
    by_part, by_finding = metrics_by_part(found), metrics_by_finding(found)
    assert by_part["part"].tolist() == ["test", "benchmark", "batch", "batch"]
    assert by_part["batch"].tolist()[2:] == ["b0", "b1"]
    assert pd.isna(by_part.loc[1, "mean_auroc"])
    assert by_finding["part"].tolist() == ["test"] * 4
    for name, value in found["test"].items():
        if isinstance(value, dict):
            assert by_finding.set_index("finding")[name].dropna().to_dict() == value
        else:
            assert by_part.loc[0, name] == value
