"""Runs the service: `python -m serve`, settings from the environment."""

import logging
import signal
import sys
import threading
import warnings
from types import FrameType

import uvicorn
from pydantic import ValidationError

from chestxray.system.malloc import set_heap
from serve.api import create_app
from serve.json_log import JsonLines
from serve.settings import Settings

KEPT_BLOCK, KEPT_END = 2 * 2**20, 8 * 2**20
"""Bytes that the heap keeps. After 100 predictions with 14 heatmaps 179 MiB are resident instead of 220, for no time
that can be measured; 256 KiB left 167, but cost 140 ms of page faults for each of them."""


class DrainingServer(uvicorn.Server):
    """Says for a while that it is going before it goes, so that whoever sends requests here can stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """`/readyz` turns 503 at once; later the socket closes, and what is in flight has a while to finish."""
        service = self.config.app.state.service  # type: ignore[union-attr] # the application object, not its name
        seconds = 0.0 if service.draining else service.settings.drain_seconds
        service.draining = True
        threading.Timer(seconds, super().handle_exit, (sig, frame)).start()


def main() -> None:
    """Serves until SIGTERM or SIGINT, then exits with 0."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    warnings.simplefilter("ignore")  # those of libraries may quote a file
    try:
        settings = Settings()
        app = create_app(settings)
    except (ValidationError, OSError) as error:
        sys.exit(str(error))
    set_heap(kept_block=KEPT_BLOCK, kept_end=KEPT_END, one_arena=True)
    # uvicorn raises the signal again when it is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    DrainingServer(config).run()


if __name__ == "__main__":
    main()
