"""Forbid ONNX Runtime, MLflow and Ray to report to their makers."""

import os


def forbid_telemetry() -> None:
    """Set the variables that ONNX Runtime, MLflow and Ray read; those that are set already stay."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it draws over a log that is no terminal
