"""The examples in docstrings run and give what they show."""

import doctest
import importlib
from pathlib import Path
from pkgutil import walk_packages

import numpy as np
import pytest

import chestxray
from tests.nih_batch import noise, png

NEEDED = {
    "chestxray.metrics.ranking", "chestxray.metrics.proportion", "chestxray.metrics.calibration_error",
    "chestxray.metrics.confusion", "chestxray.metrics.report", "chestxray.evaluation.calibration",
    "chestxray.training.views", "chestxray.inference.heatmap", "chestxray.inference.bundle",
}  # fmt: skip
"""What a researcher would call has an example."""
PACKAGES = ("chestxray.metrics", "chestxray.evaluation", "chestxray.inference", "chestxray.training.views")


def examples() -> list[doctest.DocTest]:
    names = [module.name for module in walk_packages(chestxray.__path__, "chestxray.")]
    modules = [importlib.import_module(name) for name in names if name.startswith(PACKAGES)]
    found = [test for module in modules for test in doctest.DocTestFinder(exclude_empty=True).find(module)]
    return [test for test in found if test.examples]


EXAMPLES = examples()


def test_what_a_researcher_would_call_has_an_example() -> None:
    modules = {name for test in EXAMPLES for name in NEEDED if test.name.startswith(f"{name}.")}
    assert NEEDED - modules == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: str(test.name))
def test_the_example_gives_what_it_shows(example: doctest.DocTest, bundle_folder: Path, tmp_path: Path) -> None:
    radiograph_file = tmp_path / "radiograph.png"
    radiograph_file.write_bytes(png(noise(0)))
    example.globs.update(np=np, bundle_folder=bundle_folder, radiograph_file=radiograph_file)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
