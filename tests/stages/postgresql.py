"""A PostgreSQL server of its own on the loopback."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import psycopg
import pytest

from benchmarks.process import free_port

SERVER_ACCOUNT = "postgres"
"""Runs the server in place of root, who may not."""
PASSWORD = f"/{token_hex()}:@"


@dataclass(frozen=True)
class PostgreSQL:
    """A server, which can be stopped and started again.

    Attributes:
        programs: their folder.
        folder: of its files.
    """

    programs: Path
    folder: Path
    port: int

    def run(self, program: str, *arguments: str) -> None:
        account = ["runuser", "-u", SERVER_ACCOUNT, "--"] if os.getuid() == 0 else []
        command = [*account, str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-w", "-m", "immediate")

    def address(self, database: str) -> str:
        return f"postgresql://mlflow:{quote(PASSWORD, '')}@127.0.0.1:{self.port}/{database}"


@contextmanager
def postgresql(*databases: str) -> Iterator[PostgreSQL]:
    """A server with empty databases; skips the test where it is not installed."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as temporary:  # not pytest's, which is closed to others
        folder = Path(temporary)
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, SERVER_ACCOUNT)
        server = PostgreSQL(Path(found[0]).resolve().parent, folder, free_port())
        server.run("initdb", "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "--no-sync")
        server.start()
        try:
            with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
                for database in databases:
                    connection.execute(f"CREATE DATABASE {database}".encode())
            yield server
        finally:
            server.stop()
