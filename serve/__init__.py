"""Serve the registered model over HTTP, and show its answers on a page."""

from chestxray.system.telemetry import forbid_telemetry

forbid_telemetry()  # before anything here imports ONNX Runtime
