"""`chestxray mlflow` says where the runs are, and becomes the server; `promote` and `rollback` say what they moved."""

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient

from chestxray.cli import mlflow
from chestxray.cli.main import main
from chestxray.registry.versions import Registry
from tests.repository import TOP


def test_it_leads_to_the_runs_and_shows_no_password_on_the_command_line(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_store, tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    called: list[Any] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    monkeypatch.setattr(os, "execv", lambda *arguments: called.append(arguments))
    assert main(["mlflow", "--port", "5001"]) == 0
    assert capsys.readouterr().out == (
        "runs: http://127.0.0.1:5001/#/experiments/1/runs?workflowType=machine_learning\n"
    )
    ((program, command),) = called
    assert program == sys.executable and command[1:4] == ["-m", "mlflow", "ui"] and "5001" in command
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == uri and uri not in command


def test_a_store_on_a_server_has_its_page_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SimpleNamespace(tracking_uri="https://user:secret@mlflow.example/")
    monkeypatch.setattr(mlflow, "open_store", lambda: store)
    monkeypatch.setattr(mlflow, "experiment_id", lambda _: "7")
    assert main(["mlflow"]) == 0
    assert capsys.readouterr().out == (
        "runs: https://***@mlflow.example/#/experiments/7/runs?workflowType=machine_learning\n"
    )


def test_promote_and_rollback_say_what_they_moved(
    client: MlflowClient, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(TOP)
    assert main(["promote", "1"]) == 0
    assert capsys.readouterr().out == "chest-xray: champion is version 1, by hand\n"
    assert main(["promote", "1"]) == 1 and main(["rollback"]) == 1
    errors = capsys.readouterr().err
    assert "chestxray promote: version 1 of chest-xray is champion already" in errors
    assert "chestxray rollback: chest-xray has no previous champion to go back to" in errors
