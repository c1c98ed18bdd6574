"""The containers: what they install, and that the recipe gives a working service."""

import json
import os
import re
import socket
import subprocess
import sys
import venv
from pathlib import Path

import httpx2
import pytest

from tests.repository import TOP
from tests.serve.files import PNG
from tests.serve.test_server import wait_until_ready

HEAVY = "tensorflow keras torch mlflow pandas matplotlib scipy sklearn onnx pyarrow streamlit joblib dill cloudpickle"
PREDICT = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from serve.api import create_app
from serve.model_holder import ModelHolder
from serve.settings import Settings
settings = Settings()
holder = ModelHolder(settings)
holder.refresh()
with TestClient(create_app(settings, holder)) as client:
    for kind in ("inline", "link", "raw"):
        options = {"heatmaps": kind, "heatmaps_for": "all"}
        client.post("/predict", params=options, files={"file": Path(sys.argv[1]).read_bytes()}).raise_for_status()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def pins(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (TOP / file).read_text(), re.MULTILINE))


def test_predicting_with_heatmaps_loads_nothing_heavy(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(PNG)
    command = [sys.executable, "-c", PREDICT, str(tmp_path / "image.png")]
    environment = {**os.environ, "MODEL_URI": str(bundle)}
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "onnxruntime" in loaded
    assert loaded & set(HEAVY.split()) == set()


@pytest.mark.parametrize("file", ["serve/requirements.txt", "serve/requirements-ui.txt"])
def test_containers_run_the_versions_that_were_tested(file: str) -> None:
    tested, shipped = {**pins("tests/requirements.txt"), **pins("requirements.txt")}, pins(file)
    assert shipped and {name: tested.get(name, version) for name, version in shipped.items()} == shipped


def test_the_service_installs_nothing_heavy() -> None:
    assert set(pins("serve/requirements.txt")) & {*HEAVY.split(), "scikit-learn"} == set()


def test_hadolint_is_content() -> None:
    command = ["hadolint", "serve/Dockerfile", "serve/Dockerfile.ui"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_recipe_of_the_container_serves(bundle: Path, tmp_path: Path) -> None:
    """The steps of serve/Dockerfile without Docker: its packages alone, its files, its settings, its command."""
    recipe = (TOP / "serve" / "Dockerfile").read_text()
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "serve/requirements.txt"]
    done = subprocess.run(install, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode and re.search("No matching distribution|Connection|Temporary failure", done.stderr):
        pytest.skip(f"pip can't reach its packages: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    app = tmp_path / "app"
    app.mkdir()
    (app / "models").mkdir()
    for source in re.findall(r"^COPY (\S+) \S+$", recipe, re.MULTILINE):
        if source.startswith(("chestxray", "serve", "models")) and not source.endswith(".txt"):
            (app / source).symlink_to(bundle if source == "models/champion" else TOP / source)
    settings = dict(re.findall(r"(\w+)=(\S+)", re.findall(r"^ENV (.*)$", recipe, re.MULTILINE)[-1]))
    command = json.loads(re.findall(r"^CMD (.*)$", recipe, re.MULTILINE)[-1])
    check = json.loads(re.findall(r"CMD (\[.*\])$", recipe, re.MULTILINE)[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    environment = {**settings, "PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": port}
    with subprocess.Popen([python, *command[1:]], cwd=app, env=environment) as server:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", 200)
            answer = httpx2.post(f"http://127.0.0.1:{port}/predict?heatmaps=inline&threshold=0", files={"file": PNG})
            assert len(answer.json()["predicted_labels"]) == 14
            subprocess.run([python, *check[1:]], env=environment, check=True)
        finally:
            server.terminate()
        assert server.wait(30) == 0
