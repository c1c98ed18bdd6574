"""What `make` starts and leaves running ends with it."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.repository import TOP

STUB = '#!/bin/bash\necho "$$ $*" > started.partial && mv started.partial started\nexec sleep 600\n'


@pytest.fixture
def started_by_make(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[subprocess.Popen[bytes], int, str]:
    """`make` at work in a folder whose programs do nothing but wait; the process of the program, and its words."""
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    shutil.copy(TOP / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (tmp_path / ".venv/installed").touch()
    for name in ("python", "chestxray"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    make = subprocess.Popen(["make", *request.param], cwd=tmp_path)
    while not (tmp_path / "started").exists() and make.poll() is None:
        time.sleep(0.02)
    pid, _, words = (tmp_path / "started").read_text().strip().partition(" ")
    return make, int(pid), words


@pytest.mark.parametrize(
    ("started_by_make", "said"),
    [
        (["serve"], "-m serve"),
        (["ui", "UI_PORT=8512"], "--server.port 8512"),
        (["mlflow", "MLFLOW_PORT=5012"], "mlflow --port 5012"),
    ],
    indirect=["started_by_make"],
)
def test_a_signal_to_make_ends_what_it_started(
    started_by_make: tuple[subprocess.Popen[bytes], int, str], said: str
) -> None:
    make, pid, words = started_by_make
    make.send_signal(signal.SIGTERM)
    make.wait(10)
    assert said in words
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
