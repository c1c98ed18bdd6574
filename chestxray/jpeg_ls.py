"""JPEG-LS, decoded by CharLS in a short-lived process: some damaged files keep it in a loop that does not end.

The process costs about 0.1 s. It may take as much processor time as four times the pixels would, and some memory.
"""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

STARTS_WITHIN = 30
"""Seconds, on a machine that is busy."""
SECONDS, SECONDS_PER_PIXEL = 0.05, 1e-7
BYTES, BYTES_PER_PIXEL = 256 * 2**20, 8


def decode_jpeg_ls(data: bytes, rows: int, columns: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decodes a codestream.

    Args:
        data: the codestream; `chestxray.codestream.check_jpeg` found it to be of this size.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        rows × columns, uint8 if all values have 8 bits or fewer.

    Raises:
        subprocess.SubprocessError, ValueError: it is damaged.
    """
    command = [sys.executable, "-m", "chestxray.jpeg_ls", str(rows * columns)]
    environment = {"OPENBLAS_NUM_THREADS": "1"}  # more would reserve memory for each
    done = subprocess.run(
        command,
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        env=environment,
        timeout=STARTS_WITHIN,
        check=True,
    )
    values = np.frombuffer(done.stdout, np.uint8 if len(done.stdout) == rows * columns else "<u2")
    return values.reshape(rows, columns)


def main(pixels: int) -> None:
    """Codestream on the standard input to pixels on the standard output."""
    import jpeg_ls  # noqa: PLC0415 # before the limits, and in this process only

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES + BYTES_PER_PIXEL * pixels,) * 2)
    data = sys.stdin.buffer.read()
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_PIXEL * pixels)
    sys.stdout.buffer.write(jpeg_ls.decode_pixel_data(data)[0])
    sys.stdout.buffer.flush()
    os._exit(0)  # the interpreter takes its time to end


if __name__ == "__main__":
    main(int(sys.argv[1]))
