"""Start server processes on the loopback, and measure the memory of a process and its descendants."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from benchmarks.client import Client

TOP = Path(__file__).parents[1]
DEADLINE = 180.0
"""Seconds within which a server starts, stops or becomes ready, on a busy machine too."""
PORTS = (10_000, 32_000)
"""Below those that Linux gives to outgoing connections."""


@dataclass(frozen=True)
class Server:
    """A server process; memory in MiB.

    Attributes:
        log: the file of its output and errors.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def resident(self) -> float:
        """Return the resident memory now, summed over the process and its descendants."""
        return sum(kibibytes(pid, "status", "VmRSS") for pid in family(self.process.pid)) / 1024

    def peak(self) -> float:
        """Return the most resident memory since the last `reset_peak`, as if all processes had it at the same time."""
        return sum(kibibytes(pid, "status", "VmHWM") for pid in family(self.process.pid)) / 1024

    def reset_peak(self) -> None:
        """Start a new peak (proc(5), clear_refs)."""
        for pid in family(self.process.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """Return the number of open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def wait_for(self, path: str, status: int = 200, said: bytes = b"") -> None:
        """Request `path` until the answer has this status and contains `said`.

        Raises:
            RuntimeError: the server ended or the deadline passed; the message ends with its last output.
        """
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with Client(self.port, DEADLINE) as client:
                    answer = client.get(path)
                    if answer.status == status and said in answer.body:
                        return
            except (OSError, HTTPException):
                pass  # not listening yet
            time.sleep(0.02)
        raise RuntimeError(f"no {status} from {path}: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on.

    It is none of those that the system gives to connections, which could take it before a server does.
    """
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def serving(folder: Path, model_uri: str | Path, *launcher: str, **settings: object) -> Iterator[Server]:
    """Start `python -m serve`, yield it when it is ready, and kill it in the end if it still runs.

    Args:
        folder: for its log, and for its temporary files in `folder/tmp`.
        model_uri: the model to serve.
        launcher: a command that runs the one that follows it, such as `may_open(64)`.
        settings: as in `serve.settings`.
    """
    chosen = {"model_uri": model_uri, "drain_seconds": 0.2, **settings}
    environment = {name.upper(): str(value) for name, value in chosen.items()}
    with running([*launcher, sys.executable, "-m", "serve"], folder, environment) as server:
        server.wait_for("/readyz")
        yield server


def may_open(descriptors: int) -> tuple[str, ...]:
    """Return the command that runs another one with so many file descriptors."""
    return ("sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh")


@contextmanager
def running(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Start a server process whose port is in its environment, and replaces `{port}` in its command."""
    port = free_port()
    log = folder / "server.log"
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PORT": str(port), "TMPDIR": str(temporary), **environment}
    arguments = [argument.replace("{port}", str(port)) for argument in command]
    with log.open("ab") as file:
        process = subprocess.Popen(arguments, cwd=TOP, env=environment, stdout=file, stderr=file)
    try:
        yield Server(process, port, log)
    finally:
        for pid in reversed(family(process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait(DEADLINE)


def family(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [member for child in children.read_text().split() for member in family(int(child))]
        except OSError:  # the thread ended meanwhile
            continue
    return found


def kibibytes(pid: int, file: str, field: str) -> int:
    """Return a field of `/proc/<pid>/<file>` in KiB; 0 when the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
