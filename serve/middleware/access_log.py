"""Count, time and log every answer, by route and status; no file name, query or address is in any of it."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import Metrics

UNKNOWN = "none"
"""The route of a request that no route is for."""

log = logging.getLogger("serve.requests")


class AccessLog:
    """Observe requests; it stands behind `RequestID`.

    Args:
        app: the application behind.
        metrics: where to count.
        paths: of the routes. What is refused before it is routed counts under its path if that is one of them.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str | None]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record how it was answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self.paths else UNKNOWN
        route = getattr(scope.get("route"), "path", path)
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        request_id = scope["state"]["request_id"]
        milliseconds = round(1000 * seconds, 2)
        log.info("answered", extra={"request_id": request_id, "route": route, "status": status, "ms": milliseconds})
