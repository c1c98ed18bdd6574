"""What stands around the routes: ids, headers, counts and logs for every answer; the key and the bounds before any."""

import hmac
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.observation import Metrics
from serve.problems import ProblemError
from serve.service import Service

OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})
"""Answered without the key, as linked heatmaps are: their names are secrets, and `<img>` sends no header."""
HEATMAPS = "/static/gradcam/"
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not say otherwise."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("serve.requests")


class Observed:
    """Outermost: every answer has its request's id and safe headers, is counted and logged.

    Args:
        app: the application behind.
        metrics: to count in.
        paths: of the routes; what is refused before it is routed counts under one of them, or as "none".
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str | None]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"], headers = message["status"], MutableHeaders(scope=message)
                for name, value in {**SECURITY, "X-Request-ID": request_id}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, observe)
        finally:
            seconds, asked = time.perf_counter() - start, scope["path"] if scope["path"] in self.paths else "none"
            route, status = getattr(scope.get("route"), "path", asked), state.get("status", 500)
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            fields = {"request_id": request_id, "route": route, "status": status, "ms": round(1000 * seconds, 2)}
            log.info("answered", extra=fields)


class Guard:
    """Innermost: refuses before the body is read what would be refused anyway, and answers what nobody caught.

    An error after the answer has begun is logged and goes on, so that the server cuts the connection.

    Args:
        app: the application behind.
        service: whose key is asked for; a POST is refused when its queue is full.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            self._check(scope)
            await self.app(scope, receive, send)
        except Exception as error:
            begun = "status" in scope["state"]
            if begun or not isinstance(error, ProblemError):
                log.exception("failed", extra={"request_id": scope["state"]["request_id"]})
            if begun:
                raise
            response = await self.service.refuse(Request(scope), error)
            await response(scope, receive, send)

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
