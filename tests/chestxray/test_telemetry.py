"""Nothing that the library uses reports home."""

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2]
SILENCED = ("ORT_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY")


def test_onnx_runtime_starts_no_telemetry(tmp_path: Path) -> None:
    """Its telemetry writes a session file to the temporary folder as soon as it is imported."""
    environment = {name: value for name, value in os.environ.items() if name not in SILENCED}
    environment["TMPDIR"] = str(tmp_path)

    def left_by(code: str) -> list[str]:
        subprocess.run([sys.executable, "-c", code], cwd=HOME, env=environment, check=True)
        return [file.name for file in tmp_path.iterdir()]

    assert left_by("import chestxray.bundle") == []
    assert left_by("import onnxruntime") == [".ses"]  # or the line above proves nothing
