"""Raw data that DVC tracks are found, in the temporary copies of experiments too; where the runs of these are."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo
from mlflow import MlflowClient

from benchmarks.process import DEADLINE
from chestxray.tracking.mlflow_runs import EXPERIMENT_OF_DVC, PARENT
from tests.nih_batch import plain_batch
from tests.repository import TOP
from tests.stages.conftest import Clone


def test_dvc_finds_a_tracked_batch_that_git_ignores(tmp_path: Path) -> None:
    clone, batch = Clone(tmp_path), plain_batch(tmp_path / "data/raw/nih")
    clone.run("git", "init", "-q")
    shutil.copy(TOP / ".gitignore", tmp_path)
    with Repo.init(str(tmp_path)) as repo:
        repo.add(str(batch))
        assert [Path(out.fs_path) for out in repo.index.outs] == [batch]
    said = clone.run("git", "status", "--porcelain", "--untracked-files=all", "data").stdout
    assert said == "?? data/raw/nih.dvc\n"


@pytest.mark.heavy
def test_experiments_in_temporary_copies_have_a_tracked_batch_and_write_to_the_repositorys_store(
    make_clone: Callable[[], Clone],
) -> None:
    clone = make_clone()
    plain_batch(clone.top / "data/raw/nih")
    clone.turn(batches={"nih": {"root": "data/raw/nih"}})
    clone.run("dvc", "add", "data/raw/nih")
    clone.commit("a tracked batch")
    clone.run("dvc", "exp", "run", "--temp", "--name", "first", "-S", "prepare.test=0.3", "prepare@nih")
    clone.run("dvc", "exp", "run", "--queue", "--name", "second", "-S", "prepare.test=0.4", "prepare@nih")
    clone.run("dvc", "queue", "start")
    end = time.monotonic() + DEADLINE
    while not re.search("second .* (Success|Failed)", said := clone.run("dvc", "queue", "status").stdout):
        assert time.monotonic() < end, said
    assert "Success" in said, clone.run("dvc", "queue", "logs", "second").stdout

    client = MlflowClient(f"sqlite:///{clone.top / '.mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("chest-xray")
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time"])
    parents = [run for run in runs if PARENT not in run.data.tags]
    assert [run.data.tags[EXPERIMENT_OF_DVC] for run in parents] == ["first", "second"]
    assert [re.findall(r"prepare\.test (\S+)", run.info.run_name) for run in parents] == [["0.3"], ["0.4"]]
    assert {run.info.status for run in runs} == {"FINISHED"}
