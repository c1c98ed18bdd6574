"""Nothing that the library uses reports home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import TOP

HOME = TOP
SILENCED = ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY")


def test_onnx_runtime_starts_no_telemetry(tmp_path: Path) -> None:
    """Its telemetry writes a session file to the temporary folder as soon as it is imported, on some machines."""
    environment = {name: value for name, value in os.environ.items() if name not in SILENCED}
    environment["TMPDIR"] = str(tmp_path)

    def left_by(code: str) -> list[str]:
        subprocess.run([sys.executable, "-c", code], cwd=HOME, env=environment, check=True)
        return [file.name for file in tmp_path.iterdir()]

    asked = "import serve.api, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    assert left_by(asked) == []
    if left_by("import onnxruntime") == []:
        pytest.skip("ONNX Runtime starts no telemetry here even when nothing forbids it: only the setting was checked")
