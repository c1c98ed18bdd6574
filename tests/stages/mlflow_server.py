"""MLflow's server as a team has it: with users, and with files that go through it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import httpx2

from benchmarks.process import DEADLINE, Server, family, running

TRAINER, READER, ADMIN = "trainer", "reader", "admin"
PASSWORDS = {name: f"/{token_hex()}:@" for name in (TRAINER, READER, ADMIN)}
"""Of characters that an address must quote."""


@contextmanager
def mlflow_server(folder: Path, store: str, users: str) -> Iterator[Server]:
    """A server whose runs are in the database `store`, its users in the database `users`, its files in `folder`."""
    settings = folder / "auth.ini"
    text = f"[mlflow]\ndatabase_uri = {users.replace('%', '%%')}\ndefault_permission = READ\nadmin_username = {ADMIN}\n"
    settings.write_text(f"{text}auth_cache_ttl_seconds = 60\n")
    environment = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS[ADMIN],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": token_hex(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"]
    with running([*command, "--port", "{port}", "--workers", "1"], folder, environment) as server:
        server.wait_for("/health")
        for name in (TRAINER, READER):
            answer = httpx2.post(
                f"http://127.0.0.1:{server.port}/api/2.0/mlflow/users/create",
                json={"username": name, "password": PASSWORDS[name]},
                auth=(ADMIN, PASSWORDS[ADMIN]),
                timeout=DEADLINE,
            )
            assert answer.status_code == 200, answer.text
        yield server


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """A server that takes connections and answers nothing."""
    processes = family(server.process.pid)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def kill(server: Server) -> None:
    """Ends a server and its workers at once."""
    for pid in family(server.process.pid):
        os.kill(pid, signal.SIGKILL)
    server.process.wait(DEADLINE)
