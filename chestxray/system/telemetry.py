"""Forbid libraries to report to their makers: a hospital's machine tells nobody anything."""

import os


def forbid_telemetry() -> None:
    """Set what ONNX Runtime and MLflow read when they are imported; values that are set already stay."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it draws over a log that is no terminal
