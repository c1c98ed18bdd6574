"""Multi-label classification of findings in frontal chest radiographs. Research use only, not a medical device."""

import os

# ONNX Runtime and MLflow report their use to their makers unless told otherwise before they are imported. A hospital's
# service tells nobody anything; a file in the temporary folder and the memory of unsent reports go away, too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it draws over a log that is no terminal
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
