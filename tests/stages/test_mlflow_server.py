"""A team's MLflow server: one registers, another's service follows; what is said when the server won't or can't."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from benchmarks.process import Server, serving
from chestxray.cli.main import main
from chestxray.errors import UserError
from chestxray.inference.card import bundle_digest
from chestxray.params import Params, load_params
from chestxray.registry.registered_version import RegisteredVersion
from chestxray.registry.versions import Registry
from chestxray.tracking.mlflow_runs import pipeline_run, stage_run
from chestxray.tracking.store import open_store
from serve.model_holder import ModelHolder
from serve.settings import Settings
from tests.repository import TOP
from tests.serve.bundles import make_bundle
from tests.stages.conftest import Clone, ran
from tests.stages.mlflow_server import PASSWORDS, READER, TRAINER, hanging, kill, mlflow_server
from tests.stages.postgresql import PASSWORD, postgresql

pytestmark = pytest.mark.slow

CHAMPION = "models:/chest-xray@champion"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """On SQLite; the environment, which the code changes too, names it and the user who trains."""
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    for name, value in {"MAX_RETRIES": "0", "TIMEOUT": "5"}.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path / 'm.db'}", f"sqlite:///{tmp_path / 'users.db'}") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address(server, TRAINER))
        yield server


def address(server: Server, user: str, password: str | None = None) -> str:
    return f"http://{user}:{quote(password or PASSWORDS[user], '')}@127.0.0.1:{server.port}"


def register(registry: Registry, params: Params, bundle: Path) -> RegisteredVersion:
    weights = bundle.parent / "final.weights.h5"
    weights.write_bytes(b"weights")
    return registry.register(pipeline_run(registry._client, params), bundle, weights)


def test_a_service_follows_what_another_registers_and_keeps_its_model_without_the_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    params = load_params(TOP / "params.yaml")
    bundles = [make_bundle(tmp_path / str(seed), seed) for seed in range(2)]
    with stage_run("register", params):
        registry = Registry(open_store(), "chest-xray")
        first = register(registry, params, bundles[0])
        registry.promote(first)
    holder = ModelHolder(
        Settings(mlflow_tracking_uri=address(server, READER), inference_threads=1)  # type: ignore[call-arg] # others
    )

    def served() -> tuple[str | None, str, bool]:
        holder.refresh()
        assert holder.model
        return holder.model.info.version, holder.model.info.sha256, holder.problem is None

    assert served() == ("1", bundle_digest(bundles[0]), True)
    registry.promote(register(registry, params, bundles[1]))
    assert served() == ("2", bundle_digest(bundles[1]), True)
    with hanging(server):
        assert served() == ("2", bundle_digest(bundles[1]), False)
        assert holder.problem and "timed out" in holder.problem.reason
    assert served() == ("2", bundle_digest(bundles[1]), True)

    monkeypatch.chdir(TOP)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(server, READER))
    assert main(["promote", "1"]) == 1
    printed = "".join(capfd.readouterr())
    assert "its administrator can give this user the right" in printed.splitlines()[-1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(server, READER, "/wrong:password@"))
    with pytest.raises(UserError, match="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as refused:
        open_store()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(server, TRAINER))
    again = "check that it answers, then run the same again"
    with pytest.raises(UserError, match=again) as broken, stage_run("register", params):
        kill(server)
    assert served() == ("2", bundle_digest(bundles[1]), False)

    said = "".join((printed, *capfd.readouterr(), str(refused.value), str(broken.value), str(holder.problem.reason)))
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (*PASSWORDS.values(), *(quote(password, "") for password in PASSWORDS.values()), "wrong"):
        assert secret not in said and secret.encode() not in written


@pytest.mark.heavy
def test_of_two_clones_on_postgresql_one_trains_another_promotes_and_a_service_follows(
    copy_trained: Callable[[], Clone], tmp_path: Path
) -> None:
    with postgresql("mlflow", "users") as database:
        with mlflow_server(tmp_path, database.address("mlflow"), database.address("users")) as server:
            first, second = copy_trained(), copy_trained()
            user = ("env", f"MLFLOW_TRACKING_URI={address(server, TRAINER)}")
            assert ran(first.run(*user, "dvc", "repro").stdout) == ["register"]
            reading = {"mlflow_tracking_uri": address(server, READER), "mlflow_http_request_max_retries": 0}
            with serving(tmp_path / "service", CHAMPION, model_poll_seconds=1, **reading) as service:
                service.wait_for("/readyz", said=says(version="1"))
                second.run(*user, "dvc", "exp", "run", "-S", "train.l2=50.0")
                first.run(*user, "chestxray", "promote", "2")
                service.wait_for("/readyz", said=says(version="2"))
                first.run(*user, "chestxray", "rollback")
                service.wait_for("/readyz", said=says(version="1"))
                database.stop()
                service.wait_for("/readyz", said=b"model-not-found")
                service.wait_for("/readyz", said=says(version="1"))
                database.start()
                service.wait_for("/readyz", said=b'"problem":null')
                kill(server)
                service.wait_for("/readyz", said=b"model-not-found")
        for folder in (first.top, second.top, tmp_path / "service"):
            for secret in (*PASSWORDS.values(), PASSWORD):
                assert files_with(secret, folder) == files_with(quote(secret, ""), folder) == []


def says(**values: str) -> bytes:
    return json.dumps(values, separators=(",", ":")).strip("{}").encode()


def files_with(secret: str, top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
