"""TensorFlow starts in silence; where it does not start, what it said is shown."""

import os
import subprocess
import sys

import pytest

from chestxray.models.tensorflow import held_back
from tests.repository import TOP

LOADED = "from chestxray.models.tensorflow import keras, tf; tf.function(lambda x: 2 * x)(tf.ones(3))"


def test_nothing_is_said_when_it_is_loaded_and_used() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPP")}
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=environment | {"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_what_was_said_is_shown_if_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with held_back():
        os.write(2, b"no GPU\n")
    with pytest.raises(ImportError), held_back():
        os.write(2, b"no AVX\n")
        raise ImportError
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "no AVX\nlater\n"
