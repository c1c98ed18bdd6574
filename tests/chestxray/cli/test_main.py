"""The command says in one line what a person can mend."""

import os
import subprocess
import sys

from tests.repository import TOP


def test_a_locale_without_utf8_is_said_first_and_the_ordinary_c_works() -> None:
    command = [sys.executable, "-m", "chestxray", "predict", "no-röntgen.png"]
    without = {name: value for name, value in os.environ.items() if name not in {"PYTHONUTF8", "PYTHONIOENCODING"}}
    ends = []
    for more in ({"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}):
        environment = {**without, "LC_ALL": "C", "MODEL_URI": "nowhere", **more}
        done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
        ends.append(done.stderr)
        assert done.returncode in {1, 2} and len(done.stderr.splitlines()) == 1
    assert "the locale has the encoding ascii" in ends[0] and "LC_ALL=C.UTF-8" in ends[0]
    assert "locale" not in ends[1]
