"""What stands around the routes."""

import asyncio
import hmac
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import ProblemError
from serve.service import HEATMAPS, Service

OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})
"""Answered without the key, as linked heatmaps are: their names are secrets, and `<img>` sends no header."""
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not say otherwise."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("serve.requests")


class Doorkeeper:
    """Around every request: an id, safe headers, counts and a log line; the key and the bounds before its body is read.

    An error that nobody caught is answered as a problem; after the answer has begun it is logged and goes on, so that
    the server cuts the connection.

    Args:
        app: the application behind.
        service: whose key is asked for; a POST is refused when its queue is full.
        paths: of the routes; what is refused before it is routed counts under one of them, or as "none".
    """

    def __init__(self, app: ASGIApp, service: Service, paths: frozenset[str | None]) -> None:
        self.app, self.service, self.paths, self.uploads = app, service, paths, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, given = time.perf_counter(), Headers(scope=scope).get("x-request-id", "")
        state = scope.setdefault("state", {})
        state["request_id"] = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

        async def observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"], headers = message["status"], MutableHeaders(scope=message)
                for name, value in {**SECURITY, "X-Request-ID": state["request_id"]}.items():
                    headers.setdefault(name, value)
            async with asyncio.timeout(self.service.settings.transfer_seconds):
                await send(message)

        uploads = int(scope["method"] == "POST")
        self.uploads += uploads
        try:
            self._check(scope)
            await self.app(scope, self._in_time(receive), observe)
        except (Exception, asyncio.CancelledError) as error:  # cancelled is what SIGTERM does not wait for any longer
            ending = ProblemError("overloaded", "The service is ending; ask again.")
            response = await self.service.refuse(Request(scope), error if isinstance(error, Exception) else ending)
            if "status" in state:
                raise
            await response(scope, receive, observe)
        finally:
            self.uploads -= uploads
            self._count(scope, time.perf_counter() - start)

    def _in_time(self, receive: Receive) -> Receive:
        """What arrives, if all of the body does in time."""
        loop, arrived = asyncio.get_running_loop(), False
        deadline = loop.time() + self.service.settings.transfer_seconds

        async def receive_in_time() -> Message:
            nonlocal arrived
            try:
                async with asyncio.timeout_at(None if arrived else deadline):
                    message = await receive()
            except TimeoutError:
                raise ProblemError("too-slow", "The request did not arrive in time.") from None
            arrived = not message.get("more_body", False)
            return message

        return receive_in_time

    def _check(self, scope: Scope) -> None:
        path, headers, settings = scope["path"], Headers(scope=scope), self.service.settings
        if settings.api_key and path not in OPEN and not path.startswith(HEATMAPS):
            given = headers.get("x-api-key", "").encode("latin-1")
            if not hmac.compare_digest(given, settings.api_key.get_secret_value().encode()):
                raise ProblemError("unauthorized", "The header X-API-Key lacks or is not the key of this service.")
        length, limit = headers.get("content-length", "0"), settings.max_body_bytes
        if length.isdecimal() and int(length) > limit:
            raise ProblemError("body-too-large", f"The request is larger than {limit:,} bytes.")
        if scope["method"] == "POST":
            self.service.pool.check()
            if self.uploads > settings.max_uploads:
                raise ProblemError("overloaded", f"{settings.max_uploads} uploads are in work; try again in a second.")

    def _count(self, scope: Scope, seconds: float) -> None:
        metrics, state = self.service.metrics, scope["state"]
        asked = scope["path"] if scope["path"] in self.paths else "none"
        route, status = getattr(scope.get("route"), "path", asked), state.get("status", 500)
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        log.info(
            "answered",
            extra={"request_id": state["request_id"], "route": route, "status": status, "ms": round(1000 * seconds, 2)},
        )
