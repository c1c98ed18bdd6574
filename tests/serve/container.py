"""Do the steps of a Dockerfile without Docker: copy its files, install its packages, read its settings and commands."""

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.repository import TOP

BUNDLE = "models/champion"


def pins(file: str) -> dict[str, str]:
    """Versions by package, as a list of requirements pins them."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (TOP / file).read_text(), re.MULTILINE))


class Recipe:
    """A Dockerfile of the repository.

    Attributes:
        requirements: list of its packages.
        copies: for each COPY from the repository, its sources and its target.
        settings: the environment of the container.
        command: that the container runs.
        check: the command that tells whether it is well.
    """

    def __init__(self, file: str) -> None:
        text = (TOP / file).read_text().replace("\\\n", " ")
        (self.requirements,) = re.findall(r"^COPY (\S+) /tmp/requirements.txt$", text, re.MULTILINE)
        lines = [line.split() for line in re.findall(r"^COPY (?!--|.* /tmp/)(.*)$", text, re.MULTILINE)]
        self.copies = [(sources, target) for *sources, target in lines]
        environment: str = re.findall(r"^ENV (.*)$", text, re.MULTILINE)[-1]
        self.settings = dict(setting.split("=", 1) for setting in environment.split())
        self.command: list[str] = json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[-1])
        self.check: list[str] = json.loads(re.findall(r"HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)[0])

    def lay_out(self, app: Path, bundle: Path) -> Path:
        """Copies the files into the folder `app`, with a bundle in the champion's place."""
        for sources, target in self.copies:
            for source in sources:
                place = app / target / Path(source).name if target.endswith("/") else app / target
                place.parent.mkdir(parents=True, exist_ok=True)
                path = bundle if source == BUNDLE else TOP / source
                if path.is_dir():
                    shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(path, place)
        return app

    def install(self, folder: Path) -> Path:
        """Makes an environment with the packages alone, and returns its folder of programs."""
        venv.create(folder)
        python = folder / "bin" / "python"
        install = ["install", "--quiet", "--no-compile", "--require-hashes", "-r", self.requirements]
        command = [sys.executable, "-m", "pip", "--python", python, *install]
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
        if done.returncode and re.search("No matching distribution|Connection|Temporary failure", done.stderr):
            pytest.skip(f"pip can't reach its packages: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        return python.parent
