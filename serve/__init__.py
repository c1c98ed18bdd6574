"""Serve the registered model over HTTP, and show its answers on a page."""

import os

from chestxray.system.telemetry import forbid_telemetry

forbid_telemetry()  # before anything here imports ONNX Runtime
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of NumPy and OpenCV: see docs/decisions/thread-pool.md
