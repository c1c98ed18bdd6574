"""The run of a pipeline says what it came to: few metrics in groups, its data, and a description with a picture."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chestxray.evaluation.metrics_tables import metrics_with_intervals
from chestxray.evaluation.run_description import REST, describe, describe_version, picture
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import Card
from chestxray.params import Params
from chestxray.system.files import write_json
from chestxray.tracking.mlflow_runs import Run, pipeline_run
from chestxray.tracking.pipeline_record import DESCRIPTION, PICTURE, headlines, log_evaluation, log_verdict
from chestxray.tracking.store import open_store
from tests.chestxray.conftest import PARAMS


@pytest.fixture
def card(bundle_folder: Path) -> Card:
    return Bundle(bundle_folder).card


@pytest.fixture
def params() -> Params:
    return PARAMS.model_copy(update={"batches": {"b": PARAMS.batches["phantom"]}})


@pytest.fixture
def run(tmp_path: Path, empty_store: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Run:
    shutil.copy(empty_store, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return pipeline_run(open_store(), params)


@pytest.fixture
def reports(tmp_path: Path, card: Card) -> Path:
    """What the stages before leave."""
    folder = tmp_path / "reports"
    write_json(folder / "metrics.json", metrics_with_intervals(card.metrics))
    write_json(folder / "train.json", {"train": {"warm_start": 0, "l2": 0.3, "validation_mean_auroc": 0.8}})
    write_json(folder / "fine_tune.json", {"fine_tune": {"validation_mean_auroc": 0.9, "kept_epoch": 2, "images": 20}})
    for name in ("metrics_by_part", "metrics_by_finding", "classification_report"):
        (folder / f"{name}.csv").write_text("finding,auroc\n")
    return folder


def listed(run: Run) -> set[str]:
    return {file.path for file in run.client.list_artifacts(run.run_id)}


def test_a_try_that_ends_at_evaluate_has_params_headlines_data_and_a_description(
    run: Run, params: Params, reports: Path, card: Card
) -> None:
    for _ in range(2):  # a stage that is forced to run again
        log_evaluation(run, params, reports, card.model_dump(), describe(card), picture(card))
    found = run.client.get_run(run.run_id)
    assert found.data.params["train.l2"] == "[0.3, 1.0, 3.0, 10.0]"
    names = ("mean_auroc", "mean_average_precision", "macro_f1")
    expected = {f"{part}/{name}": card.metrics[part][name] for part in ("test", "benchmark") for name in names}
    training = {"train/l2": 0.3, "train/validation_mean_auroc": 0.8}
    tuning = {"fine_tune/validation_mean_auroc": 0.9, "fine_tune/kept_epoch": 2}
    assert found.data.metrics == expected | training | tuning
    roles = {tag.value: each.dataset for each in found.inputs.dataset_inputs for tag in each.tags}
    assert set(roles) == {"training", "validation", "test", "benchmark"} and len(found.inputs.dataset_inputs) == 4
    for role, batch in roles.items():
        side = {"training": "train", "benchmark": "test"}.get(role, role)
        facts = card.splits[side]
        assert batch.digest == facts.sha256[:36] == facts.batches["b"].sha256[:36]  # of a single batch
        assert batch.name == ("b (benchmark)" if role == "benchmark" else "b")
        assert json.loads(batch.source) == {"uri": "data/raw/phantom"}
        assert json.loads(batch.profile) == {"studies": 20, "patients": 20}
    asked = f"dataset.digest = '{card.splits['test'].sha256[:36]}' and dataset.context = 'test'"
    assert [each.info.run_id for each in run.client.search_runs([found.info.experiment_id], asked)] == [run.run_id]
    said = found.data.tags[DESCRIPTION]
    assert "not put to the gate" in said and f"{card.metrics['test']['mean_auroc']:.3f}" in said
    assert f"(get-artifact?path={PICTURE}&run_uuid={run.run_id})" in said and PICTURE in listed(run)
    assert found.data.tags["mlflow.source.name"] == "dvc.yaml" and "mlflow.source.git.commit" in found.data.tags


def test_what_is_by_finding_is_in_tables_and_no_metric(run: Run, params: Params, reports: Path, card: Card) -> None:
    log_evaluation(run, params, reports, card.model_dump(), describe(card), picture(card))
    assert {"metrics.json", "metrics_by_finding.csv", "metrics_by_part.csv", "classification_report.csv"} < listed(run)
    assert "promotion.md" not in listed(run)
    (reports / "promotion.md").write_text("# Version 1: promote\n")
    log_verdict(run, reports, card.model_dump())
    assert {"promotion.md", "train.json"} < listed(run)
    assert run.client.get_run(run.run_id).data.tags["data"] == "synthetic"


def test_means_over_no_finding_give_way_to_those_over_all() -> None:
    metrics = {"test": {"n": 9, "mean_auroc_of_all": 0.7, "mean_auroc_ci_low": 0.6}, "benchmark": {"macro_f1": 0.5}}
    assert headlines(metrics) == {"test": {"mean_auroc_of_all": 0.7}, "benchmark": {"macro_f1": 0.5}}


def test_a_description_begins_with_the_verdict_and_says_what_the_images_are(card: Card) -> None:
    verdict: dict[str, Any] = {"version": 2, "decision": "keep", "reason": "Because."}
    said = describe(card, verdict)
    assert said.startswith("Version 2: keep. Because.\n") and "synthetic phantoms, no clinical meaning" in said
    radiographs = card.model_copy(update={"synthetic": False, "patients_known": False})
    assert "(radiographs; patients unknown: each image counts as one)" in describe(radiographs)


def test_the_description_of_a_version_is_its_model_card_as_far_as_mlflow_takes_it(card: Card) -> None:
    said = describe_version(card, describe(card))
    assert len(said) <= 5000 and said.startswith("Evaluated") and "# Model card" in said and "## Limits" in said
    assert said.endswith(REST)


def test_findings_without_an_auroc_have_no_mark_in_the_picture(card: Card) -> None:
    nothing = card.model_copy(update={"metrics": {"test": {"n": 3}}})
    (axes,) = picture(nothing).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(card.titles)
    marks = axes.containers[0].lines[0]
    assert np.isnan(marks.get_xdata()).all()
