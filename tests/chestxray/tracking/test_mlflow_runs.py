"""Runs hold what was logged: one run a state, a child a stage, and the end that the stage had."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.tracking.mlflow_runs import PARENT, STAGE, Run, flatten, pipeline_run, stage_run
from chestxray.tracking.store import open_store
from tests.chestxray.conftest import PARAMS


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    shutil.copy(empty_store, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return open_store()


def test_a_state_has_one_run_and_another_state_another(store: MlflowClient) -> None:
    other = PARAMS.model_copy(update={"prepare": PARAMS.prepare.model_copy(update={"salt": "another"})})
    first = pipeline_run(store, PARAMS).run_id
    assert pipeline_run(store, PARAMS).run_id == first
    assert pipeline_run(store, other).run_id != first


def test_a_stage_is_a_child_with_the_params_of_its_section(store: MlflowClient) -> None:
    with stage_run("prepare", PARAMS, batch="b") as run:
        assert store.get_run(run.run_id).info.status == "RUNNING"
    data = store.get_run(run.run_id).data
    assert store.get_run(run.run_id).info.status == "FINISHED"
    assert data.tags[PARENT] == pipeline_run(store, PARAMS).run_id and data.tags[STAGE] == "prepare@b"
    assert data.params == {f"prepare.{key}": str(value) for key, value in PARAMS.prepare.model_dump().items()}


@pytest.mark.parametrize(
    ("end", "status"), [(ValueError(), "FAILED"), (SystemExit(1), "FAILED"), (KeyboardInterrupt(), "KILLED")], ids=repr
)
def test_a_stage_that_does_not_end_well_says_so(end: BaseException, status: str, store: MlflowClient) -> None:
    with pytest.raises(type(end)), stage_run("train", PARAMS) as run:
        raise end
    assert store.get_run(run.run_id).info.status == status
    assert store.get_run(pipeline_run(store, PARAMS).run_id).info.status == "FINISHED"


@pytest.fixture
def run(store: MlflowClient) -> Run:
    return pipeline_run(store, PARAMS)


def test_params_that_a_run_has_are_left_alone(run: Run) -> None:
    run.log_params({"a": {"b": 1}})
    run.log_params({"a": {"b": 2, "c": 3}})
    assert run.client.get_run(run.run_id).data.params == {"a.b": "1", "a.c": "3"}


def test_metrics_that_are_no_finite_numbers_are_left_out(run: Run) -> None:
    run.log_metrics({"a": {"b": 0.5, "nan": float("nan"), "inf": -float("inf"), "none": None}, "text": "0.5"})
    assert run.client.get_run(run.run_id).data.metrics == {"a.b": 0.5}


def test_a_curve_is_a_metric_by_steps(run: Run) -> None:
    run.log_curve(pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}), step="epoch")
    assert [(m.step, m.value) for m in run.client.get_metric_history(run.run_id, "loss")] == [(1, 0.5), (2, 0.25)]


def test_files_and_folders_are_logged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("a.csv", "figures/b.png"):
        (tmp_path / name).write_text("content")
    run.log_artifact(tmp_path / "a.csv")
    run.log_artifact(tmp_path / "figures", "figures")
    listed = [file.path for folder in (None, "figures") for file in run.client.list_artifacts(run.run_id, folder)]
    assert listed == ["a.csv", "figures", "figures/b.png"]


def test_nested_keys_become_dotted() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": []}}, "e": None}) == {"a.b": 1, "a.c.d": [], "e": None}
