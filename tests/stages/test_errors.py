"""What a person can mend ends a stage with one line, and no output is touched."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.phantom_listed import lists_phantoms
from tests.repository import TOP


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with params.yaml and nothing else."""
    shutil.copy(TOP / "params.yaml", tmp_path)
    return tmp_path


def start(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOP), "DVC_ROOT": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", **variables}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 # this process has no threads that hold locks
    )


def hear_ctrl_c() -> None:
    """A shell makes what it starts in the background deaf to Ctrl-C, and all below it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def last_line(folder: Path, *words: str, code: int = 1) -> str:
    with start(folder, *words) as process:
        said, complaint = process.communicate()
    assert process.returncode == code and "Traceback" not in complaint
    return [line for line in f"{said}{complaint}".splitlines() if line][-1]


def test_a_batch_that_is_not_listed_is_refused_by_its_name(empty: Path) -> None:
    data = empty / "data/decoded/phantom/images.npy"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"precious")
    for stage in ("decode", "prepare", "features"):
        for name in ("nope", "../decoded/phantom"):
            assert name in last_line(empty, f"stages.{stage}", name)
    assert data.read_bytes() == b"precious"


def test_a_stage_that_runs_too_early_says_what_to_run(empty: Path) -> None:
    assert "batch phantom is not prepared" in last_line(empty, "stages.class_weighting")
    assert "run dvc repro" in last_line(empty, "stages.evaluate")
    assert "batch phantom has no data/decoded/phantom: run dvc repro" in last_line(empty, "stages.digests", "prepared")


def test_words_that_are_wrong_are_answered_with_the_usage(empty: Path) -> None:
    assert last_line(empty, "stages.prepare", code=2) == "usage: python -m stages.prepare <batch>"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("salt: chest-xray", "salt: 2020-13-45", "params.yaml"), ("batches:", "batches: [", "params.yaml")],
)
def test_params_that_are_no_yaml_are_told_in_one_line(empty: Path, old: str, new: str, said: str) -> None:
    params = empty / "params.yaml"
    params.write_text(params.read_text().replace(old, new, 1))
    with start(empty, "stages.phantom") as process:
        complaint = process.communicate()[1]
    assert process.returncode == 1 and said in complaint and len(complaint.splitlines()) == 1


def test_without_a_phantom_in_params_nothing_is_drawn(empty: Path) -> None:
    list_phantoms(empty, False)
    with start(empty, "stages.phantom") as process:
        said = process.communicate()[0]
    assert process.returncode == 0 and said.startswith("nothing is drawn") and len(said.splitlines()) == 1
    assert {path.name: list(path.iterdir()) for path in (empty / "data/raw").iterdir()} == {"phantom": [], "update": []}


def list_phantoms(folder: Path, listed: bool) -> None:
    (folder / "data").mkdir()
    (folder / "data/phantom_listed.json").write_text(json.dumps({"listed": listed}))


def test_a_batch_of_phantoms_is_known_by_its_folder() -> None:
    assert lists_phantoms(["/data/mine", "data/raw/phantom/"]) and lists_phantoms([f"{Path.cwd()}/data/raw/update"])
    assert not lists_phantoms(["data/raw/phantoms", "/data/raw/phantom", "data/raw"])


def test_a_locale_without_utf8_is_refused_before_any_work(empty: Path) -> None:
    with start(empty, "stages.phantom", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as process:
        complaint = process.communicate()[1]
    assert process.returncode == 1 and complaint.startswith("the locale has the encoding")
    assert not (empty / "mlflow.db").exists()


@pytest.mark.slow
def test_ctrl_c_ends_a_stage_without_a_traceback_and_leaves_nothing_half_written(empty: Path) -> None:
    list_phantoms(empty, True)
    with start(empty, "stages.phantom") as process:
        folder = empty / "data/raw/.phantom.partial"
        while not folder.exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        complaint = process.communicate()[1]
    assert process.returncode == 130 and not list((empty / "data/raw").iterdir()), complaint
