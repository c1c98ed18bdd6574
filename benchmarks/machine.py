"""Describe the machine and the library versions that figures were measured with."""

import os
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Return one line: processor, cores, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("tensorflow", "onnxruntime", "numpy", "opencv-python-headless")
    )
    return f"{os.cpu_count()} cores of {model}; {versions}"
