"""What the figures were measured on."""

import os
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """One line: processor, cores, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("tensorflow", "onnxruntime", "numpy", "opencv-python-headless")
    )
    return f"{os.cpu_count()} cores of {model}; {versions}"
