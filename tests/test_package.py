"""The package: what it declares, what its wheel holds, and that a plain install of it predicts."""

import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository import TOP
from tests.serve.bundles import make_bundle
from tests.serve.files import PNG

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
PLAIN = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
TRAIN = EXTRAS["train"]
OPTIONAL = [requirement for extra in EXTRAS.values() for requirement in extra]
GROUPS = PROJECT["dependency-groups"]
LOCKS = {
    "requirements.txt": PLAIN + TRAIN + GROUPS["serve"] + GROUPS["ui"] + GROUPS["build"],
    ".dvc/requirements-s3.txt": PLAIN + EXTRAS["s3"],
    "tests/requirements.txt": GROUPS["test"],
    "serve/requirements.txt": PLAIN + GROUPS["serve"],
    "serve/requirements-ui.txt": GROUPS["ui"],
    "serve/requirements-mlflow.txt": GROUPS["mlflow-server"],
    "benchmarks/requirements.txt": GROUPS["torch"],
}
PIP = (sys.executable, "-m", "pip", "--python")
"""Installs into another environment, which needs no pip of its own."""
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


GRAPH = grimp.build_graph("chestxray", "stages", include_external_packages=True, cache_dir=None)
DISTRIBUTIONS = packages_distributions()


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def undeclared(modules: set[str], requirements: list[str]) -> set[str]:
    """The packages among `modules` that the requirements do not name."""
    declared = names(requirements)
    packages = {module for module in modules if module in DISTRIBUTIONS and module not in ("chestxray", "stages")}
    return {name for name in packages if not {canonicalize_name(each) for each in DISTRIBUTIONS[name]} & declared}


def test_what_the_library_and_the_stages_import_is_declared() -> None:
    assert undeclared(GRAPH.modules, PLAIN + OPTIONAL) == set()
    assert undeclared({"tensorflow", "numpy"}, PLAIN) == {"tensorflow"}


def test_what_reading_a_bundle_imports_is_a_plain_dependency() -> None:
    modules = GRAPH.find_upstream_modules("chestxray.inference", as_package=True)
    assert undeclared(modules, PLAIN) == {"pandas"}  # for type checkers alone


@pytest.mark.parametrize("file", LOCKS)
def test_every_dependency_is_pinned_to_a_version_that_is_allowed(file: str) -> None:
    pins = dict(PIN.findall((TOP / file).read_text()))
    for requirement in map(Requirement, LOCKS[file]):
        assert pins.get(canonicalize_name(requirement.name), "") in requirement.specifier, requirement


@pytest.mark.parametrize("file", LOCKS)
def test_a_lock_has_one_version_of_a_package_and_names_no_host(file: str) -> None:
    text = (TOP / file).read_text()
    pinned = [name for name, _ in PIN.findall(text)]
    assert len(pinned) == len(set(pinned))
    assert "://" not in text and "--index" not in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = ["git", "ls-files", "pyproject.toml", "README.md", "LICENSE", "chestxray", "stages", "serve", "tests"]
    for file in subprocess.run(tracked, cwd=TOP, capture_output=True, text=True, check=True).stdout.splitlines():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes((TOP / file).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*build, str(source)], check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_library_whole_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(file.relative_to(TOP)) for file in (TOP / "chestxray").rglob("*.py")}
    assert held == modules | {"chestxray/py.typed"}


@pytest.mark.slow
def test_a_plain_install_predicts_in_a_folder_of_its_own(wheel: Path, tmp_path: Path) -> None:
    pins = PIN.findall((TOP / "serve/requirements.txt").read_text())
    (tmp_path / "tested.txt").write_text("".join(f"{name}=={version}\n" for name, version in pins))
    venv.create(tmp_path / "venv")
    commands = tmp_path / "venv" / "bin"
    install = [*PIP, commands / "python", "install", "--quiet", "--no-compile", "-c", tmp_path / "tested.txt", wheel]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode and re.search("No matching distribution|Connection|Temporary failure", done.stderr):
        pytest.skip(f"pip can't reach its packages: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr

    documents = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
    blocks = re.findall(r"```python\n(.*?)```", "".join(file.read_text() for file in documents), re.DOTALL)
    snippet = next(block for block in blocks if 'Bundle(Path("models/bundle"))' in block)
    make_bundle(tmp_path / "models" / "bundle")
    for image in ["image.png", *re.findall(r'Path\("(\S+\.png)"\)', snippet)]:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_bytes(PNG)

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    done = run(commands / "python", "-c", f"{snippet}\nprint(probabilities.shape, maps.ndim)")
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["(1, 14) 4"], "")

    done = run(commands / "chestxray", "predict", "--model", "models/bundle", "image.png")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["findings"]) == 14
    done = run(commands / "chestxray", "predict", "--model", "models/bundle", "image.png", "--output", "scores.csv")
    assert (done.returncode, (tmp_path / "scores.csv").exists()) == (0, True), done.stderr
    done = run(commands / "chestxray", "predict", "--model", "models/bundle", "image.png", "--output", "scores.parquet")
    assert done.returncode == 2 and "pyarrow" in done.stderr

    assert run(commands / "chestxray", "--help").returncode == 0
    assert "FILE" in run(commands / "chestxray", "predict", "--help").stdout
    done = run(commands / "chestxray", "rollback")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(
        r"chestxray rollback: .* is not installed: pip install '\.\[train\]' in the repository\n", done.stderr
    )
