"""Import TensorFlow and Keras without what TensorFlow says on standard error when it is loaded.

Its lines (no CUDA, CPU features, oneDNN) look like faults and are none. The level of its log hides what comes later;
the first come before it reads the level: standard error goes to a file meanwhile, which is shown if loading fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """Keep what the process writes on standard error, C++ included; it is written if the block fails, else dropped."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(terminal, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with held_back():
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
