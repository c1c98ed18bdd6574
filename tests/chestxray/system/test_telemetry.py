"""Nothing that the library uses reports to its maker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chestxray.system.telemetry import forbid_telemetry
from tests.repository import TOP

SILENCED = ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY")


def test_telemetry_is_forbidden_unless_someone_has_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    forbid_telemetry()
    assert [os.environ[name] for name in SILENCED] == ["0", "true"]


def test_onnx_runtime_starts_no_telemetry(tmp_path: Path) -> None:
    """Its telemetry writes a session file to the temporary folder as soon as it is imported, on some machines."""
    environment = {name: value for name, value in os.environ.items() if name not in SILENCED}
    environment["TMPDIR"] = str(tmp_path)

    def left_by(code: str) -> list[str]:
        subprocess.run([sys.executable, "-c", code], cwd=TOP, env=environment, check=True)
        return [file.name for file in tmp_path.iterdir()]

    asked = "import serve.api, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    assert left_by(asked) == []
    if left_by("import onnxruntime") == []:
        pytest.skip("ONNX Runtime starts no telemetry here even when nothing forbids it: only the setting was checked")
