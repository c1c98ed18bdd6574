"""Refuse requests that are too large or too many, before their bodies are read."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.descriptors import Descriptors
from serve.pool import Pool
from serve.problems import ProblemError

GRACE_SECONDS = 2.0
"""How long an upload may take whatever its speed, unless one that is there whole wants its place."""
SLOW = 1024 * 1024
"""Bytes a second; an upload that has been slower gives up its place to another one when all are taken."""
PATIENCE_SECONDS = 5.0
"""How long an upload of which something is there waits for a place."""
LOOK_SECONDS = 0.25
"""After which one that waits looks whether another has become slow."""


class Upload:
    """A request whose body arrives.

    Args:
        address: of the client; "" of a trusted proxy.
        files: that it may open.

    Attributes:
        arrived: bytes of its body until now.
        whole: all of its body is there.
        waiting: for a place or for more of its body; None when what came is being stored or all is there.
        has_place: set when it has one.
    """

    def __init__(self, address: str, files: int) -> None:
        self.address = address
        self.files = files
        self.arrived = 0
        self.whole = False
        self.waiting: asyncio.Timeout | None = None
        self.has_place = asyncio.Event()
        self.begun = time.monotonic()

    def bytes_per_second(self) -> float:
        """Return how fast it has been until now."""
        return self.arrived / max(time.monotonic() - self.begun, 1e-3)

    def in_grace(self) -> bool:
        """Say whether it has just begun."""
        return time.monotonic() - self.begun < GRACE_SECONDS

    async def receive_from(self, receive: Receive) -> Message:
        """Receive the next message.

        Raises:
            ProblemError: "too-slow", if it has to give up its place meanwhile.
        """
        if self.whole:  # its answer is being made or sent: all that can come is the client's end
            return await receive()
        try:
            async with asyncio.timeout(None) as self.waiting:
                message = await receive()
        except TimeoutError:
            raise ProblemError("too-slow", "The request arrived too slowly while others waited.") from None
        finally:
            self.waiting = None
        self.arrived += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message

    async def wait_for_place(self) -> bool:
        """Wait a moment, or until it has to give up; return whether it has a place then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS) as self.waiting:
                await self.has_place.wait()
        self.waiting = None
        return self.has_place.is_set()

    def give_up(self) -> None:
        """End its waiting."""
        if self.waiting:
            self.waiting.reschedule(0.0)


class RequestLimits:
    """Bound the size of a request by what it announces and by what arrives, and the number of uploads in work.

    An upload waits in a line until its first bytes have come, so that a client that sends none takes no place; then
    those of the address with the fewest places come first, and of these the ones that are there whole.

    Args:
        app: the application behind.
        pool: a POST is refused when it is full.
        max_body_bytes: size of the largest request.
        max_uploads: POST requests at a time, from their first bytes until they are answered; they take a quarter
            of the connections at most, and those in the line another quarter.
        trusted_proxies: addresses that may have all of them; any other may have half.
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
        trusted_proxies: tuple[str, ...],
        descriptors: Descriptors,
        files: Mapping[str, int],
    ) -> None:
        self.app = app
        self.pool = pool
        self.max_body_bytes = max_body_bytes
        self.max_uploads = min(max_uploads, descriptors.connections // 4)
        self.longest_line = min(2 * max_uploads, descriptors.connections // 4)
        self.trusted_proxies = trusted_proxies
        self.max_files = descriptors.files
        self.files = files
        self.line = dict[Upload, None]()  # without a place, the longest first
        self.uploads = dict[Upload, None]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is room for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._check_size(Headers(scope=scope).get("content-length", "0"))
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self.pool.check()
        address = (scope.get("client") or ("",))[0]
        upload = Upload("" if address in self.trusted_proxies else address, self.files.get(scope["path"], 0))
        try:
            first = await self._stand_in_line(upload, receive)
            await self.app(scope, self._bounded(upload, first, receive), send)
        finally:
            self._remove(upload)
            self._give_places()

    async def _stand_in_line(self, upload: Upload, receive: Receive) -> Message:
        """Wait for the first bytes and for a place; return the message with the bytes."""
        self._make_room_in_line(upload)
        self.line[upload] = None
        first = await upload.receive_from(receive)
        end = time.monotonic() + PATIENCE_SECONDS
        while upload in self.line:
            self._give_places()
            if not await upload.wait_for_place() and time.monotonic() > end:
                break
        if upload not in self.uploads:
            raise self._overloaded()
        return first

    def _make_room_in_line(self, upload: Upload) -> None:
        """Send away who has sent nothing or not all for the longest, or else one of an address with several."""
        if len(self.line) < self.longest_line:
            return
        counts = _counts(self.line)
        other = min(self.line, key=lambda each: (each.whole, each.arrived > 0, -counts[each.address]))
        if other.whole and counts[other.address] <= counts[upload.address] + 1:
            raise self._overloaded()
        self._send_away(other)

    def _give_places(self) -> None:
        """Give places to those in the line that have sent something."""
        counts = _counts(self.uploads)
        ready = (upload for upload in self.line if upload.arrived or upload.whole)
        for upload in sorted(ready, key=lambda each: (counts[each.address], not each.whole, each.begun)):
            while not self._has_room(upload):
                if not (slowest := self._slowest_for(upload)):
                    break
                self._send_away(slowest)
            else:
                del self.line[upload]
                self.uploads[upload] = None
                upload.has_place.set()

    def _slowest_for(self, upload: Upload) -> Upload | None:
        """Return whose place this one may have: a slow one's, or one of an address that has more of them."""
        counts = _counts(self.uploads)
        crowded = self._is_crowded(upload)

        def may_go(other: Upload) -> bool:
            slow = other.bytes_per_second() < SLOW and (upload.whole or not other.in_grace())
            return slow or counts[other.address] > counts[upload.address] + 1

        others = [other for other in self.uploads if other.waiting and (not crowded or other.address == upload.address)]
        return min(
            filter(may_go, others), key=lambda each: (-counts[each.address], each.bytes_per_second()), default=None
        )

    def _has_room(self, upload: Upload) -> bool:
        open_files = sum(other.files for other in self.uploads)
        room = len(self.uploads) < self.max_uploads and open_files + upload.files <= self.max_files
        return room and not self._is_crowded(upload)

    def _is_crowded(self, upload: Upload) -> bool:
        """Say whether its address has half of the places."""
        return bool(upload.address) and _counts(self.uploads)[upload.address] >= -(-self.max_uploads // 2)

    def _send_away(self, upload: Upload) -> None:
        upload.give_up()
        self._remove(upload)

    def _remove(self, upload: Upload) -> None:
        self.line.pop(upload, None)
        self.uploads.pop(upload, None)

    def _overloaded(self) -> ProblemError:
        return ProblemError("overloaded", f"{len(self.uploads)} uploads are in work; try again in a second.")

    def _bounded(self, upload: Upload, first: Message, receive: Receive) -> Receive:
        """Refuse a body that did not announce its size once more has arrived than is taken."""
        arrived = [first]

        async def bounded() -> Message:
            message = arrived.pop() if arrived else await upload.receive_from(receive)
            self._check_size(str(upload.arrived))
            return message

        return bounded

    def _check_size(self, size: str) -> None:
        if size.isdecimal() and int(size) > self.max_body_bytes:
            mend = "send less at a time, or raise MAX_BODY_BYTES of the service"
            raise ProblemError("body-too-large", f"The request is larger than {self.max_body_bytes:,} bytes; {mend}.")


def _counts(uploads: Iterable[Upload]) -> Counter[str]:
    """Count them by address; those of trusted proxies, whose clients nobody can tell apart, do not count."""
    return Counter(upload.address for upload in uploads if upload.address)
