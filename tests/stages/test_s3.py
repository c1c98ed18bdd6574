"""S3, as a server on the loopback: what one clone pushes another pulls, what one registers another fetches."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

import boto3
import pytest
from mlflow import MlflowClient

from benchmarks.process import running
from chestxray.inference.bundle import MODEL
from chestxray.inference.bundle_source import find_bundle
from chestxray.inference.card import CARD, bundle_digest
from chestxray.registry.versions import Registry
from chestxray.tracking.mlflow_runs import Run
from chestxray.tracking.store import EXPERIMENT, experiment_id
from tests.serve.bundles import make_bundle
from tests.stages.conftest import Clone

pytestmark = pytest.mark.slow

SECRET = token_hex()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty bucket; the environment says where its server is and has credentials, as a user's would."""
    command = [sys.executable, "-m", "moto.server", "--port", "{port}"]
    with running(command, tmp_path_factory.mktemp("s3"), {}) as server, pytest.MonkeyPatch.context() as environment:
        server.wait_for("/")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "tests")
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="chest-xray")
        yield "s3://chest-xray"


def files_with(secret: str, top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_what_a_repository_pushes_its_clone_pulls(s3: str, tmp_path: Path) -> None:
    first, second = Clone(tmp_path / "first"), Clone(tmp_path / "second")
    (first.top / "data/images").mkdir(parents=True)
    (first.top / "data/images/1.png").write_bytes(b"pixels")
    first.run("git", "init", "-q")
    first.run("dvc", "init", "-q")
    first.run("dvc", "add", "data/images")
    first.run("dvc", "remote", "add", "--default", "storage", f"{s3}/small")
    first.run("dvc", "push")
    first.commit("data")

    first.run("git", "clone", "-q", ".", str(second.top))
    second.run("dvc", "pull")
    assert (second.top / "data/images/1.png").read_bytes() == b"pixels"
    assert files_with(SECRET, tmp_path) == []


def test_a_bundle_that_is_registered_on_s3_is_fetched_from_there(s3: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client, bundle = MlflowClient(store), make_bundle(tmp_path / "bundle")
    client.create_experiment(EXPERIMENT, artifact_location=f"{s3}/mlflow")
    run = Run(client, client.create_run(experiment_id(client)).info.run_id)
    weights = tmp_path / "final.weights.h5"
    weights.write_bytes(b"weights")
    registry = Registry(client, "chest-xray")
    registry.promote(registry.register(run, bundle, weights))

    folder, found = find_bundle("models:/chest-xray@champion", store, tmp_path / "fetched")
    assert found == {"name": "chest-xray", "alias": "champion", "version": "1", "sha256": bundle_digest(bundle)}
    for name in (MODEL, CARD):
        assert (folder / name).read_bytes() == (bundle / name).read_bytes()
    assert json.loads((folder / "source.json").read_text()) == found
    assert not list(tmp_path.rglob("artifacts")) and files_with(SECRET, tmp_path) == []


@pytest.mark.heavy
def test_a_fresh_clone_pulls_the_model_and_does_nothing_but_register(
    s3: str, copy_trained: Callable[[], Clone], tmp_path: Path
) -> None:
    first, second = copy_trained(), Clone(tmp_path / "second")
    first.run("dvc", "remote", "add", "--default", "storage", f"{s3}/full")
    first.commit("a remote")
    first.run("dvc", "push")
    first.run("git", "clone", "-q", ".", str(second.top))
    second.run("dvc", "pull")
    (second.top / ".mlflow").mkdir(exist_ok=True)
    store = f"sqlite:///{second.top / '.mlflow' / 'mlflow.db'}"
    location = f"{s3}/full-mlflow"
    second.run(
        "env", f"MLFLOW_TRACKING_URI={store}", "mlflow", "experiments", "create", "-n", EXPERIMENT, "-l", location
    )
    assert second.repro() == ["register"] and second.repro() == []
    assert second.run("git", "status", "--porcelain", "--untracked-files=no").stdout == ""

    _, found = find_bundle("models:/chest-xray@champion", store, tmp_path / "fetched")
    assert found["sha256"] == bundle_digest(second.top / "models/bundle")
    assert (tmp_path / "fetched" / MODEL).read_bytes() == (second.top / "models/bundle" / MODEL).read_bytes()
    assert not (second.top / ".mlflow/artifacts").exists()
    assert files_with(SECRET, second.top) == []
