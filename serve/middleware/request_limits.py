"""Refuse requests that are too large or too many, before their bodies are read."""

import asyncio
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.descriptors import Descriptors
from serve.pool import Pool
from serve.problems import ProblemError

GRACE_SECONDS = 2.0
"""How long an upload may take whatever its speed."""
SLOW = 64 * 1024
"""Bytes a second; an upload that has been slower gives up its place to another one when all are taken."""


class Upload:
    """A request whose body arrives.

    Args:
        files: that it may open.

    Attributes:
        arrived: bytes of its body until now.
        waiting: for more of it; None when all is there, or when what came is being stored.
    """

    def __init__(self, files: int) -> None:
        self.files = files
        self.arrived = 0
        self.waiting: asyncio.Timeout | None = None
        self._begun = time.monotonic()

    def lag(self) -> float:
        """Return the seconds that it is behind the slowest upload that keeps its place whatever comes."""
        return time.monotonic() - self._begun - GRACE_SECONDS - self.arrived / SLOW if self.waiting else 0.0

    async def receive_from(self, receive: Receive) -> Message:
        """Receive the next message.

        Raises:
            ProblemError: "too-slow", if it has to give up its place meanwhile.
        """
        try:
            async with asyncio.timeout(None) as self.waiting:
                message = await receive()
        except TimeoutError:
            raise ProblemError("too-slow", "The request arrived too slowly while others waited.") from None
        finally:
            self.waiting = None
        self.arrived += len(message.get("body", b""))
        return message

    def give_up(self) -> None:
        """End its waiting."""
        if self.waiting:
            self.waiting.reschedule(0.0)


class RequestLimits:
    """Bound the size of a request by what it announces and by what arrives, and the number of uploads in work.

    Args:
        app: the application behind.
        pool: a POST is refused when it is full.
        max_body_bytes: size of the largest request.
        max_uploads: POST requests at a time, from their first byte until they are answered; they take a quarter
            of the connections at most.
        descriptors: how many connections and files there are.
        files: how many of them a request may open, by path.

    Raises:
        ProblemError: "body-too-large", "overloaded" or "too-slow".
    """

    def __init__(
        self,
        app: ASGIApp,
        pool: Pool,
        max_body_bytes: int,
        max_uploads: int,
        descriptors: Descriptors,
        files: Mapping[str, int],
    ) -> None:
        self.app = app
        self.pool = pool
        self.max_body_bytes = max_body_bytes
        self.max_uploads = min(max_uploads, descriptors.connections // 4)
        self.max_files = descriptors.files
        self.files = files
        self.uploads = set[Upload]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is room for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._check_size(Headers(scope=scope).get("content-length", "0"))
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        upload = Upload(self.files.get(scope["path"], 0))
        self._make_room(upload.files)
        self.uploads.add(upload)
        try:
            await self.app(scope, self._bounded(upload, receive), send)
        finally:
            self.uploads.discard(upload)

    def _bounded(self, upload: Upload, receive: Receive) -> Receive:
        """Refuse a body that did not announce its size once more has arrived than is taken."""

        async def bounded() -> Message:
            message = await upload.receive_from(receive)
            self._check_size(str(upload.arrived))
            return message

        return bounded

    def _check_size(self, size: str) -> None:
        if size.isdecimal() and int(size) > self.max_body_bytes:
            mend = "send less at a time, or raise MAX_BODY_BYTES of the service"
            raise ProblemError("body-too-large", f"The request is larger than {self.max_body_bytes:,} bytes; {mend}.")

    def _make_room(self, files: int) -> None:
        """Find a place for one more upload, if need be that of the slowest."""
        self.pool.check()
        while not self._has_room(files):
            slowest = max(self.uploads, key=Upload.lag)
            if slowest.lag() <= 0:
                raise ProblemError("overloaded", f"{len(self.uploads)} uploads are in work; try again in a second.")
            slowest.give_up()
            self.uploads.discard(slowest)

    def _has_room(self, files: int) -> bool:
        open_files = sum(upload.files for upload in self.uploads)
        return len(self.uploads) < self.max_uploads and open_files + files <= self.max_files
