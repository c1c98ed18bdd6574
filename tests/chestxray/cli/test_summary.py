"""The summary says every headline, with or without an interval, and every finding with its status."""

import json
from pathlib import Path

import pandas as pd
import pytest

from chestxray.cli.summary import COLUMNS, summary
from chestxray.findings import FINDINGS
from chestxray.inference.card import CARD
from tests.serve.bundles import make_bundle


@pytest.fixture
def report(tmp_path: Path) -> Path:
    table = pd.DataFrame(dict.fromkeys(COLUMNS, 0.5), index=range(14)).assign(finding=FINDINGS, status="learned")
    table.to_csv(tmp_path / "report.csv", index=False)
    return tmp_path / "report.csv"


def test_a_headline_without_an_interval_is_said_all_the_same(report: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    whole = summary(bundle, report)
    assert "mean AUROC" in whole and "0.500   95 % interval 0.500 to 0.500" in whole
    card = json.loads((bundle / CARD).read_text())
    card["metrics"]["test"] = {"n": 10, "patients": 5, "findings_averaged": 0, "mean_auroc_of_all": 0.75}
    (bundle / CARD).write_text(json.dumps(card))
    few = summary(bundle, report)
    assert "mean AUROC of all findings" in few and "0.750   no interval: too few patients" in few
    assert "micro F1" in few and "not measured: no finding has decisions" in few


def test_a_mean_says_over_how_many_findings_it_is(report: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    card = json.loads((bundle / CARD).read_text())
    card["metrics"]["test"]["findings_averaged"] = 12
    (bundle / CARD).write_text(json.dumps(card))
    assert "mean AUROC of 12 findings" in summary(bundle, report)
