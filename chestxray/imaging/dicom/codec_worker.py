"""Run a codec in this process: set limits on time and memory, read a codestream, write its pixels, exit."""

import os
import resource
import signal
import sys
from collections.abc import Callable

SECONDS = 0.05
SECONDS_PER_PIXEL = 1e-7
"""Of processor time: four times what pixels take."""

BYTES = 256 * 2**20
BYTES_PER_PIXEL = 8
"""Of address space."""


def run_codec(decode: Callable[[bytes, int, int], bytes]) -> None:
    """Decode the standard input to the standard output, by the rows and columns of the command line, and exit.

    The caller has imported its codec, so that the limits are on decoding alone.

    Args:
        decode: codestream, rows and columns to the pixels, one or two bytes each, little endian.
    """
    rows, columns = (int(word) for word in sys.argv[1:])
    memory = BYTES + BYTES_PER_PIXEL * rows * columns
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    data = sys.stdin.buffer.read()
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_PIXEL * rows * columns)
    sys.stdout.buffer.write(decode(data, rows, columns))
    sys.stdout.buffer.flush()
    os._exit(0)  # an orderly end of the interpreter takes time
