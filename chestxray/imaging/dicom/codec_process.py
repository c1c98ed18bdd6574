"""Decode JPEG-LS and 12-bit JPEG, each image in a process of its own with limits on time and memory.

Why, and what it costs: docs/decisions/dicom-codecs.md.
"""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

STARTS_WITHIN = 30
"""Seconds, on a machine that is busy."""

Worker = Literal["jpeg_ls_worker", "jpeg_12_worker"]
"""The modules beside this one that decode in a process (`chestxray.imaging.dicom.codec_worker`)."""


def decode_in_process(
    worker: Worker, data: bytes, rows: int, columns: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode a codestream in a process of its own.

    Args:
        worker: the module that decodes it.
        data: the codestream; `chestxray.imaging.dicom.codestream.check_jpeg` found it to be of this size.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        rows × columns, uint8 if all values have 8 bits or fewer.

    Raises:
        subprocess.SubprocessError, ValueError: it is damaged.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"chestxray.imaging.dicom.{worker}", str(rows), str(columns)],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
        env={"OPENBLAS_NUM_THREADS": "1"},  # more threads would each reserve memory
        timeout=STARTS_WITHIN,
        check=True,
    )
    values = np.frombuffer(done.stdout, np.uint8 if len(done.stdout) == rows * columns else "<u2")
    return values.reshape(rows, columns)
