"""What stands before the routes: the key, the bounds, and an answer for whatever fails behind."""

import hmac
import logging
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.pool import Pool
from serve.problems import ProblemError
from serve.settings import Settings

OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})
"""Answered without the key, as linked heatmaps are: their names are secrets, and `<img>` sends no header."""
HEATMAPS = "/static/gradcam/"

log = logging.getLogger("serve.guard")


class Guard:
    """Middleware: refuses before the body is read what would be refused anyway, and answers what nobody caught.

    Args:
        app: the application behind.
        refuse: makes an answer of an error.
        pool: a POST is refused when this is full.
        settings: the key, and the largest body that is worth reading.
    """

    def __init__(
        self, app: ASGIApp, refuse: Callable[[Request, Exception], Awaitable[Response]], pool: Pool, settings: Settings
    ) -> None:
        self.app, self.refuse, self.pool, self.settings = app, refuse, pool, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            self._check(scope)
            await self.app(scope, receive, send)
        except Exception as error:
            if not isinstance(error, ProblemError):
                log.exception("failed", extra={"request_id": scope["state"]["request_id"]})
            response = await self.refuse(Request(scope), error)
            await response(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        key, path, headers = self.settings.api_key, scope["path"], Headers(scope=scope)
        if key and path not in OPEN and not path.startswith(HEATMAPS):
            given = headers.get("x-api-key", "").encode("latin-1")
            if not hmac.compare_digest(given, key.get_secret_value().encode()):
                raise ProblemError("unauthorized", "The header X-API-Key lacks or is not the key of this service.")
        length, limit = headers.get("content-length", "0"), self.settings.max_body_bytes
        if length.isdecimal() and int(length) > limit:
            raise ProblemError("body-too-large", f"The request is larger than {limit:,} bytes.")
        if scope["method"] == "POST":
            self.pool.check()
