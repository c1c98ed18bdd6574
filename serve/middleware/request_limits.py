"""Refuse requests that are too large or too many, before their bodies are read."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.pool import Pool
from serve.problems import ProblemError


class RequestLimits:
    """Bound the size of a request by what it announces and by what arrives, and the number of uploads in work.

    Args:
        app: the application behind.
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
            await self.app(scope, self._count(receive), send)
        finally:
            self.uploads -= 1

    def _count(self, receive: Receive) -> Receive:
        """Refuse a body that did not announce its size once more has arrived than is taken."""
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            self._check_size(str(arrived))
            return message

        return counted

    def _check_size(self, size: str) -> None:
        if size.isdecimal() and int(size) > self.max_body_bytes:
            mend = "send less at a time, or raise MAX_BODY_BYTES of the service"
            raise ProblemError("body-too-large", f"The request is larger than {self.max_body_bytes:,} bytes; {mend}.")

    def _check_room(self) -> None:
        self.pool.check()
        if self.uploads >= self.max_uploads:
            raise ProblemError("overloaded", f"{self.max_uploads} uploads are in work; try again in a second.")
