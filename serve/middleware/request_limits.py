"""Refuse requests that are too large or too many, before their bodies are read."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.pool import Pool
from serve.problems import ProblemError


class RequestLimits:
    """Bound the size of a request by what it announces, and the number of uploads by what is in work.

    Args:
        app: the application behind; it bounds bodies that don't announce their size.
        pool: a POST is refused when it is full.
        max_body_bytes: size of the largest request.
        max_uploads: POST requests at a time, from their first byte until they are answered.

    Raises:
        ProblemError: "body-too-large" or "overloaded".
    """

    def __init__(self, app: ASGIApp, pool: Pool, max_body_bytes: int, max_uploads: int) -> None:
        self.app = app
        self.pool = pool
        self.max_body_bytes = max_body_bytes
        self.max_uploads = max_uploads
        self.uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is room for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._check_size(Headers(scope=scope).get("content-length", "0"))
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self._check_room()
        self.uploads += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.uploads -= 1

    def _check_size(self, announced: str) -> None:
        if announced.isdecimal() and int(announced) > self.max_body_bytes:
            raise ProblemError("body-too-large", f"The request is larger than {self.max_body_bytes:,} bytes.")

    def _check_room(self) -> None:
        self.pool.check()
        if self.uploads >= self.max_uploads:
            raise ProblemError("overloaded", f"{self.max_uploads} uploads are in work; try again in a second.")
