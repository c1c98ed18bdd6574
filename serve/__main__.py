"""Run the service: `python -m serve`, settings from the environment."""

import asyncio
import functools
import logging
import signal
import socket
import sys
import threading
import warnings
from contextlib import suppress
from types import FrameType

import cv2
import uvicorn
from pydantic import ValidationError

from chestxray.errors import one_line
from chestxray.inference.answer import disclaimer
from chestxray.inference.predictions import ModelInfo
from chestxray.system.malloc import set_heap
from serve.api import create_app
from serve.connections import BoundedConnection, OpenConnections, RareComplaints, queue_in_the_system
from serve.descriptors import ACCEPTED_AT_ONCE
from serve.json_log import JSONLines
from serve.settings import MEBIBYTE, Settings

KEPT_BLOCK = 2 * MEBIBYTE
"""Bytes from which on a block goes back to the system when it is freed; see docs/decisions/serving-memory.md."""
KEPT_END = 8 * MEBIBYTE
"""Bytes that may be free at the end of the heap before they go back."""

CANT_LISTEN = 2
"""Exit code when HOST and PORT can't be listened on."""


class DrainingServer(uvicorn.Server):
    """Announce the end for a while before it comes, so that whoever sends requests here can stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with a queue of connections in the system rather than in the process."""
        asyncio.get_running_loop().set_exception_handler(RareComplaints())
        await super().startup(sockets)
        queue_in_the_system(self)
        threading.Thread(target=self._tell_people, daemon=True).start()

    def _tell_people(self) -> None:
        """Print one line when the first model is taken up; all else is told in the log, on the other stream."""
        service = self.config.app.state.service  # type: ignore[union-attr] # the application object, not its name
        service.has_model.wait()
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        with suppress(OSError, ValueError):  # nobody reads it
            print(f"{address} serves {described(service.holder.serving().info)}", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Turn `/readyz` to 503 at once, and close the socket later; what is in flight then has a while to finish."""
        service = self.config.app.state.service  # type: ignore[union-attr] # the application object, not its name
        seconds = 0.0 if service.draining else service.settings.drain_seconds
        service.draining = True
        threading.Timer(seconds, super().handle_exit, (sig, frame)).start()


def described(model: ModelInfo) -> str:
    """Say in a line which model answers, and what for."""
    return f"{model.in_words()}. {disclaimer(model.synthetic)}"


def check_address(host: str, port: int) -> None:
    """Make sure that the process can listen there, before anything is started that would have to be ended.

    Raises:
        OSError: it can't: nobody knows the name, it is not this machine's, or the port is taken or not allowed.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as asyncio does
            trial.bind(address)


def main() -> None:
    """Serve until SIGTERM or SIGINT, then exit with 0."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    warnings.simplefilter("ignore")  # those of libraries may quote a file
    try:
        settings = Settings()
        _check_address_or_exit(settings)
        app = create_app(settings)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()]
        sys.exit(f"wrong settings: {'; '.join(faults)}")
    except OSError as error:
        sys.exit(one_line(error))
    set_heap(kept_block=KEPT_BLOCK, kept_end=KEPT_END, one_arena=True)
    cv2.setNumThreads(1)  # overlays are drawn in threads of ours: see docs/decisions/thread-pool.md
    # uvicorn raises the signal again when it is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    service = app.state.service
    connections = OpenConnections(service.descriptors.connections, settings, service.metrics)
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        http=functools.partial(BoundedConnection, connections=connections),  # type: ignore[arg-type] # makes one
        ws="none",
        backlog=ACCEPTED_AT_ONCE,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom a client says to be is not where it comes from
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    DrainingServer(config).run()


def _check_address_or_exit(settings: Settings) -> None:
    try:
        check_address(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no name that a machine can have"
        print(f"can't listen on HOST={settings.host} PORT={settings.port}: {reason}", file=sys.stderr)
        sys.exit(CANT_LISTEN)


if __name__ == "__main__":
    main()
