"""Runs hold what was logged: one run a state, a child a stage, and the end that the stage had."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.params import Params
from chestxray.tracking.mlflow_runs import PARENT, PROCESS, STAGE, Run, end_killed_runs, pipeline_run, stage_run
from chestxray.tracking.nested import flatten
from chestxray.tracking.pipeline_name import pipeline_name
from chestxray.tracking.process import this_process
from chestxray.tracking.store import open_store
from tests.chestxray.conftest import PARAMS
from tests.repository import TOP


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
    parent = pipeline_run(store, PARAMS)
    assert store.get_run(run.run_id).info.status == store.get_run(parent.run_id).info.status == status
    with stage_run("train", PARAMS):
        assert store.get_run(parent.run_id).info.status == "RUNNING"
    assert store.get_run(parent.run_id).info.status == "FINISHED"


def test_the_pipeline_has_lasted_as_long_as_its_stages_each_run_once(store: MlflowClient) -> None:
    for stage in ("prepare", "train", "prepare"):  # the first of them is run again
        with stage_run(stage, PARAMS):
            pass
    info = store.get_run(pipeline_run(store, PARAMS).run_id).info
    children = store.search_runs([info.experiment_id], f"tags.`{PARENT}` = '{info.run_id}'", order_by=["start_time"])
    lasted = [run.info.end_time - run.info.start_time for run in children]
    assert info.end_time - info.start_time == sum(lasted[1:])


KILLED = """
import os, sys
from chestxray.params import load_params
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage

def main():
    with stage_run("train", load_params()) as run:
        print(run.run_id, flush=True)
        sys.stdin.read()

run_stage(main)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_the_run_of_a_stage_that_is_killed_does_not_stay_running(sent: signal.Signals, store: MlflowClient) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stage:
        assert stage.stdin and stage.stdout
        child = stage.stdout.readline().strip()
        run = store.get_run(child)
        end_killed_runs(store)
        assert store.get_run(child).info.status == "RUNNING"  # for its process lives
        stage.send_signal(sent)
    if sent == signal.SIGKILL:
        assert store.get_run(child).info.status == "RUNNING"
        with stage_run("prepare", PARAMS):
            pass
    else:
        assert store.get_run(run.data.tags[PARENT]).info.status == "KILLED"
    assert store.get_run(child).info.status == "KILLED"


def test_runs_of_older_code_that_are_left_running_are_ended_and_those_of_other_machines_not(
    store: MlflowClient,
) -> None:
    parent = pipeline_run(store, PARAMS)
    experiment = store.get_run(parent.run_id).info.experiment_id
    older = store.create_run(experiment, tags={PARENT: parent.run_id, STAGE: "train"}).info.run_id
    _, _, number = this_process().rpartition(" ")
    there = store.create_run(experiment, tags={PROCESS: f"another machine {number}"}).info.run_id
    reused = store.create_run(experiment, start_time=1_000, tags={PROCESS: this_process()}).info.run_id
    end_killed_runs(store)
    statuses = [store.get_run(run).info.status for run in (older, there, reused)]
    assert statuses == ["KILLED", "RUNNING", "KILLED"]


def named(params: Params, **sections: dict[str, object]) -> str:
    changes = {name: getattr(params, name).model_copy(update=values) for name, values in sections.items()}
    return pipeline_name(params.model_copy(update=changes))


def test_a_run_is_named_by_its_batches_its_recipe_and_what_was_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text((TOP / "params.yaml").read_text())
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert named(PARAMS) == "phantom: block_13, 4 epochs"  # outside git nothing was turned
    for command in (("init", "-q"), ("add", "."), ("-c", "user.name=t", "-c", "user.email=t", "commit", "-qm", "t")):
        subprocess.run(("git", *command), cwd=tmp_path, check=True)
    assert named(PARAMS) == "phantom: block_13, 4 epochs"
    warm: dict[str, object] = {"warm_start": "models:/chest-xray/3", "l2": 3.0}
    assert named(PARAMS, train=warm) == "phantom: from version 3, block_13, 4 epochs, train.l2 3.0"
    assert named(PARAMS, fine_tune={"epochs": 0}) == "phantom: head alone"
    table = tmp_path / "data/raw/site/table.csv"
    table.parent.mkdir(parents=True)
    table.touch()
    os.utime(table, (0, 1_772_409_600))
    batches = PARAMS.batches | {"site": PARAMS.batches["phantom"].model_copy(update={"root": "data/raw/site"})}
    assert named(PARAMS.model_copy(update={"batches": batches})) == (
        "phantom, site (tables of 2026-03-02): block_13, 4 epochs"
    )


@pytest.fixture
def run(store: MlflowClient) -> Run:
    return pipeline_run(store, PARAMS)


def test_params_that_a_run_has_are_left_alone(run: Run) -> None:
    run.log_params({"a": {"b": 1}})
    run.log_params({"a": {"b": 2, "c": 3}})
    assert run.client.get_run(run.run_id).data.params == {"a.b": "1", "a.c": "3"}


def test_metrics_that_are_no_finite_numbers_are_left_out(run: Run) -> None:
    run.log_metrics({"a": {"b": 0.5, "nan": float("nan"), "inf": -float("inf"), "none": None}, "text": "0.5"})
    assert run.client.get_run(run.run_id).data.metrics == {"a/b": 0.5}


def test_a_curve_is_a_metric_by_steps(run: Run) -> None:
    run.log_curve(pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}), "tuning", step="epoch")
    history = run.client.get_metric_history(run.run_id, "tuning/loss")
    assert [(metric.step, metric.value) for metric in history] == [
        (1, 0.5),
        (2, 0.25),
    ]


def test_files_and_folders_are_logged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("a.csv", "figures/b.png"):
        (tmp_path / name).write_text("content")
    run.log_artifact(tmp_path / "a.csv")
    run.log_artifact(tmp_path / "figures", "figures")
    listed = [file.path for folder in (None, "figures") for file in run.client.list_artifacts(run.run_id, folder)]
    assert listed == ["a.csv", "figures", "figures/b.png"]


def test_nested_keys_are_joined() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": []}}, "e": None}) == {"a.b": 1, "a.c.d": [], "e": None}
    assert flatten({"a": {"b": 1}}, "/") == {"a/b": 1}
