"""A pipeline in miniature: the real stages under the real DVC and MLflow, on 120 small phantoms."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from filelock import FileLock
from ruamel.yaml import YAML

from tests.repository import TOP

TINY = {
    "phantom": {"studies": 120, "patients": 90, "size": 64},
    "phantom.update": {"studies": 24, "patients": 18, "returning": 6},
    "prepare": {"size": 64, "max_rejected": 0.05},
    "backbone": {"weights": "random", "alpha": 0.35, "input_size": 32},
    "features": {"views": 3},
    "train": {"l2": 1.0, "folds": 2},
    "fine_tune": {"epochs": 1, "from_layer": "Conv_1"},
    "input_gate": {"images": 20, "components": 8, "folds": 2},
    "evaluate": {"min_positives": 2},
    "gradcam": {"studies": 3, "size": 128},
}


@dataclass(frozen=True)
class Clone:
    """A copy of the repository with tiny params."""

    top: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a process in the clone: the programs of this Python, the clone's own code."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        identity = {
            f"GIT_{who}_{what}": "tests@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "DVC_NO_ANALYTICS": "1"}
        return kept | identity | quiet | {"PATH": path, "PYTHONPATH": str(self.top)}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.top, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def repro(self, *arguments: str) -> list[str]:
        """`dvc repro`; returns the stages that ran."""
        return ran(self.run("dvc", "repro", *arguments).stdout)

    def out_of_date(self) -> set[str]:
        """The stages that `dvc status` names."""
        return {address.rpartition(":")[2] for address in Repo(str(self.top)).status()}

    def readers(self, path: Path) -> set[str]:
        """The stages that depend on a file."""
        above = {path, *path.parents}
        return {
            stage.addressing.rpartition(":")[2]
            for stage in self._stages
            if above.intersection(Path(dep.fs_path) for dep in stage.deps)
        }

    @cached_property
    def _stages(self) -> list[Any]:
        return list(Repo(str(self.top)).index.stages)

    def turn(self, **sections: dict[str, object]) -> None:
        """Edits params.yaml."""
        yaml, path = YAML(), self.top / "params.yaml"
        yaml.width = 2**16  # no line is broken, as `chestxray add-batch` can't keep such a style
        params = yaml.load(path)
        for section, values in sections.items():
            reduce(getitem, section.split("."), params).update(values)
        yaml.dump(params, path)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="session")
def make_clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clone]:
    """Makes copies of what git tracks, without outputs."""

    def make() -> Clone:
        clone = Clone(tmp_path_factory.mktemp("clone"))
        tracked = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, capture_output=True, text=True, check=True
        )
        for name in tracked.stdout.splitlines():
            if (TOP / name).is_file() and not name.startswith(("reports/", "dvc.lock")):
                (clone.top / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(TOP / name, clone.top / name)
        clone.turn(**TINY)
        clone.run("git", "init", "-q")
        clone.commit("tiny")
        return clone

    return make


FIRST = "first"
"""Tag of the commit after the first `dvc repro`."""


@dataclass(frozen=True)
class Trained:
    """A clone after its first `dvc repro`, committed, and the stages that ran."""

    clone: Clone
    stages: list[str]


@pytest.fixture(scope="session")
def trained(make_clone: Callable[[], Clone], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One for all processes of a test run, which is made once; `test_pipeline.py` alone may go on in it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / "trained.json"
    with FileLock(shared / "trained.lock"):
        if not made.exists():
            clone = make_clone()
            stages = clone.repro()
            clone.commit("first model")
            clone.run("git", "tag", FIRST)
            made.write_text(json.dumps([str(clone.top), stages]))
    top, stages = json.loads(made.read_text())
    return Trained(Clone(Path(top)), stages)


@pytest.fixture(scope="session")
def copy_trained(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clone]:
    """Makes clones of the trained one; their `dvc repro` takes all outputs from its cache, and registers."""

    def copy() -> Clone:
        clone = Clone(tmp_path_factory.mktemp("clone"))
        trained.clone.run("git", "clone", "-q", "--branch", FIRST, ".", str(clone.top))
        clone.run("git", "switch", "-q", "-c", "work")  # a tag is no branch
        clone.run("dvc", "cache", "dir", "--local", str(trained.clone.top / ".dvc" / "cache"))
        return clone

    return copy
