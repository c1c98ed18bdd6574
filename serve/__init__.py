"""The service that answers with the registered model, and the page that shows its answers."""

from chestxray.system.telemetry import forbid_telemetry

forbid_telemetry()  # before anything here imports ONNX Runtime
