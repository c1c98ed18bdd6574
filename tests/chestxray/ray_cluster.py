"""A cluster of Ray on this machine, with a token, for tests."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

TOKEN = secrets.token_hex(32)
"""Of all clusters of this process, since Ray reads it once."""
LEAST_STORE = 78 * 2**20
"""Bytes; Ray takes no smaller object store."""


@contextmanager
def ray_cluster(nodes: int, cpus: int = 1) -> Iterator[Any]:
    """Start nodes and let RAY_ADDRESS name them; skips where Ray is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray = pytest.importorskip("ray", reason="Ray is not installed")
        from ray.cluster_utils import Cluster  # noqa: PLC0415 # where there is none

        folder = tempfile.mkdtemp(prefix="ray")  # short: sockets lie in it
        head = {"num_cpus": cpus, "object_store_memory": LEAST_STORE, "include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(nodes - 1):
                add_node(cluster, cpus)
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def add_node(cluster: Any, cpus: int = 1) -> Any:
    """Start one more node."""
    return cluster.add_node(num_cpus=cpus, object_store_memory=LEAST_STORE)


def logged(cluster: Any) -> bytes:
    """Return all that Ray has logged, and what processes of it have written."""
    logs = Path(cluster.head_node.get_logs_dir_path())
    return b"".join(path.read_bytes() for path in logs.rglob("*") if path.is_file())


def kill_worker() -> int:
    """Kill a worker of a cluster of this process, one that is at a task if any is; returns its number."""
    names = [(child.cmdline()[:1], child) for child in psutil.Process().children(recursive=True)]
    workers = [child for title in (["ray::_work"], ["ray::IDLE"]) for name, child in names if name == title]
    os.kill(workers[0].pid, signal.SIGKILL)
    return int(workers[0].pid)
