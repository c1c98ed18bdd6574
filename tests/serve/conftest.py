"""Start the service with a small model: in this process, and behind a real port."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from benchmarks.process import DEADLINE
from serve.api import create_app
from serve.model_holder import ModelHolder
from serve.settings import Settings
from tests.serve.bundles import make_bundle


def ready_app(bundle: Path, **settings: Any) -> FastAPI:
    chosen = Settings(model_uri=str(bundle), inference_threads=1, **settings)
    holder = ModelHolder(chosen)
    holder.refresh()
    return create_app(chosen, holder)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("served") / "bundle")


@pytest.fixture
def service(bundle: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services with other settings."""
    with ExitStack() as stack:

        def make(**settings: Any) -> TestClient:
            return stack.enter_context(TestClient(ready_app(bundle, **settings), raise_server_exceptions=False))

        yield make


@pytest.fixture
def client(service: Callable[..., TestClient]) -> TestClient:
    return service()


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """Serve a bundle on the loopback; gives the address."""
    server = uvicorn.Server(uvicorn.Config(ready_app(bundle), port=0, log_config=None))
    started = threading.Event()
    startup = server.startup

    async def announce(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = announce  # type: ignore[method-assign] # uvicorn tells nobody when it listens
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(DEADLINE)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def url(bundle: Path) -> Iterator[str]:
    """Address of a service on the loopback."""
    with serving(bundle) as address:
        yield address
