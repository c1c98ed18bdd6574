"""JPEG-LS by CharLS and JPEG of 12 bits by libtiff, each image in a short-lived process.

Some damaged JPEG-LS keeps CharLS in a loop that does not end, and few files ever tried libtiff's 12 bits. The process
costs about 0.1 s. It may take as much processor time as four times the pixels would, and some memory.
"""

import io
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

STARTS_WITHIN = 30
"""Seconds, on a machine that is busy."""
SECONDS, SECONDS_PER_PIXEL = 0.05, 1e-7
BYTES, BYTES_PER_PIXEL = 256 * 2**20, 8
END_OF_IMAGE = b"\xff\xd9"
LONG, IMAGE_FILE_HEADER = 4, struct.Struct("<2sHL")

Codec = Literal["jpeg-ls", "jpeg-12"]


def decode_in_process(
    codec: Codec, data: bytes, rows: int, columns: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decodes a codestream.

    Args:
        codec: JPEG-LS, or sequential JPEG of 12 bits (ISO 10918-1, process 4). Of the latter, as of JPEG of 8 bits,
            rows that lack before an end that is marked are grey: libjpeg only warns, and Pillow does not pass that on.
        data: the codestream; `chestxray.imaging.dicom.codestream.check_jpeg` found it to be of this size.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        rows × columns, uint8 if all values have 8 bits or fewer.

    Raises:
        subprocess.SubprocessError, ValueError: it is damaged.
    """
    command = [sys.executable, "-m", "chestxray.imaging.dicom.codec_process", codec, str(rows), str(columns)]
    environment = {"OPENBLAS_NUM_THREADS": "1"}  # more would reserve memory for each
    done = subprocess.run(
        command,
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
        env=environment,
        timeout=STARTS_WITHIN,
        check=True,
    )
    values = np.frombuffer(done.stdout, np.uint8 if len(done.stdout) == rows * columns else "<u2")
    return values.reshape(rows, columns)


def tiff_of_jpeg(data: bytes, rows: int, columns: int, bits: int) -> bytes:
    """A TIFF file whose only strip is a JPEG codestream of one component (TIFF Technical Note 2).

    Pillow decodes JPEG of 12 bits in this shape alone.
    """
    end = IMAGE_FILE_HEADER.size + len(data) + len(data) % 2
    tags = {
        256: columns,
        257: rows,
        258: bits,
        259: 7,  # compression: JPEG
        262: 1,  # zero is black
        273: IMAGE_FILE_HEADER.size,  # where the strip is, how many rows and bytes it has
        278: rows,
        279: len(data),
    }
    entries = b"".join(struct.pack("<HHLL", tag, LONG, 1, value) for tag, value in tags.items())
    head = IMAGE_FILE_HEADER.pack(b"II", 42, end)
    return head + data + bytes(len(data) % 2) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _jpeg_ls() -> Callable[[bytes, int, int], bytes]:
    import jpeg_ls  # noqa: PLC0415 # before the limits, and in this process only

    return lambda data, rows, columns: bytes(jpeg_ls.decode_pixel_data(data)[0])


def _jpeg_12() -> Callable[[bytes, int, int], bytes]:
    from PIL import Image, TiffImagePlugin  # noqa: F401, PLC0415 # so is this

    def decode(data: bytes, rows: int, columns: int) -> bytes:
        if not data.rstrip(b"\0\xff").endswith(END_OF_IMAGE):
            raise ValueError("ends early")  # which libtiff fills with grey
        with Image.open(io.BytesIO(tiff_of_jpeg(data, rows, columns, 12)), formats=("TIFF",)) as image:
            return image.tobytes()

    return decode


def main(codec: str, rows: int, columns: int) -> None:
    """Codestream on the standard input to pixels on the standard output."""
    decode = {"jpeg-ls": _jpeg_ls, "jpeg-12": _jpeg_12}[codec]()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES + BYTES_PER_PIXEL * rows * columns,) * 2)
    data = sys.stdin.buffer.read()
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_PIXEL * rows * columns)
    sys.stdout.buffer.write(decode(data, rows, columns))
    sys.stdout.buffer.flush()
    os._exit(0)  # the interpreter takes its time to end


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
