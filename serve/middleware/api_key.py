"""Ask for the key, before anything else of a request is looked at."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.documentation import PAGE_PATH
from serve.problems import ProblemError
from serve.service import HEATMAP_PATH

OPEN = frozenset({"/", "/livez", "/readyz", PAGE_PATH, "/openapi.json"})
"""Answered without the key, as linked heatmaps are: their names are secrets, and `<img>` sends no header."""


class APIKey:
    """Refuse requests without the right `X-API-Key`.

    Args:
        app: the application behind.
        key: that clients must send.

    Raises:
        ProblemError: "unauthorized".
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it may."""
        if scope["type"] == "http" and not self._may_pass(scope):
            raise ProblemError("unauthorized", "The header X-API-Key lacks or is not the key of this service.")
        await self.app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in OPEN or path.startswith((HEATMAP_PATH, f"{PAGE_PATH}/")):
            return True
        given = Headers(scope=scope).get("x-api-key", "").encode("latin-1")
        return hmac.compare_digest(given, self.key)
