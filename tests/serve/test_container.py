"""The containers: what they install, and that the files they copy are all that the service and the page need."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.process import DEADLINE, free_port
from tests.dicom_files import SYNTAXES, dicom
from tests.repository import TOP
from tests.serve.container import BUNDLE, Recipe, pins
from tests.serve.files import GREY, PNG
from tests.serve.waiting import get, post, wait_until, wait_until_ready

SERVICE = "serve/Dockerfile"
PAGE = "serve/Dockerfile.ui"
HEAVY = "tensorflow keras torch mlflow pandas matplotlib scipy sklearn onnx pyarrow streamlit joblib dill cloudpickle"
PREDICT = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
import serve.__main__
from serve.api import create_app
from serve.model_holder import ModelHolder
from serve.settings import Settings
settings = Settings()
holder = ModelHolder(settings)
holder.refresh()
with TestClient(create_app(settings, holder)) as client:
    for file in Path(sys.argv[1]).iterdir():
        for kind in ("inline", "link", "raw"):
            options = {"heatmaps": kind, "heatmaps_for": "all"}
            client.post("/predict", params=options, files={"file": file.read_bytes()}).raise_for_status()
"""
DRAW = """
import sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("serve/ui.py", default_timeout=float(sys.argv[2])).run()
for file in Path(sys.argv[1]).iterdir():
    page.file_uploader[0].set_value((file.name, file.read_bytes(), "image/png"))
    page.run()
    assert not page.exception and not page.error and "Detected" in page.header[0].value, page
"""
LOADED = """
print(*sorted({name.partition(".")[0] for name in sys.modules}))
print(*[module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ("chestxray", "serve")])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every kind."""
    folder = tmp_path_factory.mktemp("files")
    for name, data in {"png": PNG, **{syntax: dicom(GREY, syntax) for syntax in SYNTAXES}}.items():
        (folder / name).write_bytes(data)
    return folder


def loaded_by(code: str, app: Path, *arguments: str, **environment: str) -> set[str]:
    """The packages that code loads; ours must come from the folder `app`."""
    command = [sys.executable, "-c", code + LOADED, *arguments]
    done = subprocess.run(
        command, cwd=app, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    packages, paths = done.stdout.splitlines()[-2:]
    assert all(path.startswith(str(app)) for path in paths.split())
    return set(packages.split())


def test_the_service_predicts_with_the_files_of_its_container_and_loads_nothing_heavy(
    bundle: Path, files: Path, tmp_path: Path
) -> None:
    app = Recipe(SERVICE).lay_out(tmp_path / "app", bundle)
    loaded = loaded_by(PREDICT, app, str(files), MODEL_URI=BUNDLE)
    assert "onnxruntime" in loaded
    assert loaded & set(HEAVY.split()) == set()


def test_the_page_draws_with_the_files_of_its_container(url: str, bundle: Path, files: Path, tmp_path: Path) -> None:
    app = Recipe(PAGE).lay_out(tmp_path / "app", bundle)
    loaded = loaded_by(DRAW, app, str(files), str(DEADLINE), SERVICE_URL=url)
    assert loaded & {"fastapi", "onnxruntime", "tensorflow", "mlflow"} == set()


def test_no_container_holds_training(bundle: Path, tmp_path: Path) -> None:
    for name, file in {"service": SERVICE, "page": PAGE}.items():
        app = Recipe(file).lay_out(tmp_path / name, bundle)
        packages = {path.name for path in (app / "chestxray").iterdir() if path.is_dir()}
        assert packages == {"imaging", "inference", "system"}


def test_the_builder_gets_what_the_containers_copy_and_nothing_else() -> None:
    sent = set(re.findall(r"^!(.*)$", (TOP / ".dockerignore").read_text(), re.MULTILINE))
    copied = {source for file in (SERVICE, PAGE) for sources, _ in Recipe(file).copies for source in sources}
    assert sent == {source for source in copied if not source.startswith("serve/")}


@pytest.mark.parametrize("file", [SERVICE, PAGE])
def test_containers_run_the_versions_that_were_tested(file: str) -> None:
    tested, shipped = {**pins("tests/requirements.txt"), **pins("requirements.txt")}, pins(Recipe(file).requirements)
    assert shipped and {name: tested.get(name, version) for name, version in shipped.items()} == shipped


def test_the_service_installs_nothing_heavy() -> None:
    assert set(pins("serve/requirements.txt")) & {*HEAVY.split(), "scikit-learn"} == set()


def test_hadolint_is_content() -> None:
    done = subprocess.run(["hadolint", SERVICE, PAGE], cwd=TOP, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@contextmanager
def started(recipe: Recipe, programs: Path, app: Path, **settings: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The container's command on a port of the loopback; yields its address and its environment."""
    port = str(free_port())
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    chosen = {name: value.replace("0.0.0.0", "127.0.0.1") for name, value in recipe.settings.items()}  # noqa: S104 # the address is replaced, not bound
    if "PYTHONPATH" in chosen:
        chosen["PYTHONPATH"] = str(app)
    environment = {**chosen, "PATH": path, "PORT": port, **settings}
    with subprocess.Popen(recipe.command, cwd=app, env=environment) as server:
        try:
            yield f"http://127.0.0.1:{port}", environment
        finally:
            server.terminate()
        assert server.wait(DEADLINE) == 0


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.heavy)])
def test_the_recipe_of_the_service_serves(bundle: Path, tmp_path: Path, alone: bool) -> None:
    """With its files, its settings, its command; with its packages, and with its packages alone."""
    recipe = Recipe(SERVICE)
    programs = recipe.install(tmp_path / "venv") if alone else Path(sys.executable).parent
    app = recipe.lay_out(tmp_path / "app", bundle)
    with started(recipe, programs, app) as (url, environment):
        wait_until_ready(url, 200)
        answer = post(f"{url}/predict?heatmaps=inline&threshold=0")
        assert len(answer.json()["predicted_labels"]) == 14
        subprocess.run(recipe.check, env=environment, check=True)
    with started(recipe, programs, app, MODEL_URI="models:/chest-xray@champion") as (url, _):
        wait_until(lambda: wait_until_ready(url, 503).json()["problem"] is not None, "no problem is told")
        problem = get(f"{url}/readyz").json()["problem"]
    assert problem.startswith("model-not-found: ") and "MODEL_URI" in problem and "\n" not in problem


@pytest.mark.heavy  # installs Streamlit; its small sibling is test_the_page_draws_with_the_files_of_its_container
@pytest.mark.slow
def test_the_recipe_of_the_page_draws_it(url: str, bundle: Path, files: Path, tmp_path: Path) -> None:
    recipe = Recipe(PAGE)
    programs, app = recipe.install(tmp_path / "venv"), recipe.lay_out(tmp_path / "app", bundle)
    with started(recipe, programs, app, SERVICE_URL=url) as (page, environment):

        def is_well() -> bool:
            return subprocess.run(recipe.check, env=environment, capture_output=True, check=False).returncode == 0

        wait_until(is_well, "the page does not start")
        assert get(page).status_code == 200
    draw = [str(programs / "python"), "-c", DRAW, str(files), str(DEADLINE)]
    subprocess.run(draw, cwd=app, env=environment | {"SERVICE_URL": url}, check=True)
