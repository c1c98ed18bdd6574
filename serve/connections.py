"""Bound how many connections are open, and how long each may take to say what it wants."""

import asyncio
import itertools
import logging
import socket
import time
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server

from serve.metrics import Metrics
from serve.settings import Settings

SYSTEM_QUEUE = 2048
"""Connections that wait in the system until the process takes them."""
SPARE = 4
"""Connections above the bound that may come while all others are in work; they are in the headroom of descriptors."""
LOG_SECONDS = 60.0
"""The event loop's complaints of one kind are logged once in this time."""

log = logging.getLogger("serve.connections")


class OpenConnections:
    """All open connections; when there are too many, whoever has waited the longest goes.

    A connection waits when it has no request in work, or when its client does not take what is sent.

    Args:
        most: at a time, and half of them from one address that is no trusted proxy.
        settings: HEAD_SECONDS bounds the time to the head of the first request, TRANSFER_SECONDS that from the end of
            an answer to the head of the next one, since the client may still be taking the answer.
        metrics: where to count what is cut.
    """

    def __init__(self, most: int, settings: Settings, metrics: Metrics) -> None:
        self.most = most
        self.trusted_proxies = settings.trusted_proxies
        self.head_seconds = settings.head_seconds
        self.transfer_seconds = settings.transfer_seconds
        self.metrics = metrics
        self.addresses = Counter[str]()
        self.waiting = dict[BoundedConnection, None]()  # the longest first

    def add(self, connection: "BoundedConnection") -> None:
        """Count one that waits, and cut one if there are too many: this one if all others are in work, and it would be
        one of too many such.
        """
        address = connection.address
        self.addresses[address] += 1
        if self.too_many(address):
            crowded = self.is_crowded(address)
            longest = next(other for other in self.waiting if not crowded or other.address == address)
            if longest is not connection or self.addresses.total() > self.most + SPARE:
                longest.cut("no-room")

    def too_many(self, address: str) -> bool:
        """Say whether there are more connections than there should be, in all or from an address."""
        return self.addresses.total() > self.most or self.is_crowded(address)

    def is_crowded(self, address: str) -> bool:
        """Say whether an address that is no trusted proxy has more than half of the connections."""
        return address not in self.trusted_proxies and self.addresses[address] > -(-self.most // 2)

    def remove(self, connection: "BoundedConnection") -> None:
        """Count a connection no longer."""
        self.waiting.pop(connection, None)
        if connection.counted:
            connection.counted = False
            self.addresses[connection.address] -= 1
            self.addresses += Counter()  # forgets addresses without connections


class BoundedConnection(H11Protocol):
    """uvicorn's connection, with a deadline whenever no request is in work.

    The deadline is for the whole head, so it bounds the time between its bytes too. A client that has sent its request
    and ends its side (`shutdown(SHUT_WR)`) gets its answer.
    """

    def __init__(self, *args: Any, connections: OpenConnections, **named: Any) -> None:
        super().__init__(*args, **named)
        self.open_connections = connections
        self.address = ""
        self.counted = True
        self.half_closed = False
        self.deadline: asyncio.TimerHandle | None = None
        self._application, self.app = self.app, self._answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Count the connection, and expect a request."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._expect_request(self.open_connections.head_seconds)
        self.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        super().connection_lost(exc)
        self._expect_nothing()
        self.open_connections.remove(self)

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn's says nothing, and the transport closes
        """Keep the connection open for the answer to a request that has arrived whole."""
        self.half_closed = self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete)
        return self.half_closed

    def handle_events(self) -> None:
        """Note that a request's head has arrived."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._expect_nothing()

    def pause_writing(self) -> None:
        """Note that the client does not take what is sent; where there are too many connections, cut it."""
        super().pause_writing()
        if not self.counted:
            return
        self.open_connections.waiting.setdefault(self)
        if self.open_connections.too_many(self.address):
            self.cut("no-room")

    def resume_writing(self) -> None:
        """Note that it does again."""
        super().resume_writing()
        if not self.deadline:
            self.open_connections.waiting.pop(self, None)

    def cut(self, reason: str) -> None:
        """Close at once, whatever is still to be sent."""
        self.open_connections.metrics.connections_cut.labels(reason).inc()
        self._expect_nothing()
        self.open_connections.remove(self)
        self.transport.abort()

    async def _answer(self, *request: Any) -> None:
        """Have a request answered; afterwards another one is expected, or the end of the connection."""
        cycle = self.cycle
        try:
            await self._application(*request)
        finally:
            if self.cycle is cycle and self in self.server_state.connections:  # else the next one is in work, or none
                if self.half_closed:
                    self.transport.close()
                self._expect_request(self.open_connections.transfer_seconds)

    def _expect_request(self, seconds: float) -> None:
        self._expect_nothing()
        self.open_connections.waiting.setdefault(self)  # for as long as it has not taken the answer before
        self.deadline = self.loop.call_later(seconds, self.cut, "too-slow")

    def _expect_nothing(self) -> None:
        if not self.flow.write_paused:
            self.open_connections.waiting.pop(self, None)
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None


def queue_in_the_system(server: Server) -> None:
    """Let connections queue in the system, although few are taken at once."""
    for listener in itertools.chain.from_iterable(each.sockets for each in server.servers):
        with socket.socket(fileno=listener.dup().detach()) as same:
            same.listen(SYSTEM_QUEUE)


class RareComplaints:
    """Log what goes wrong in the event loop, once in a while for each kind; messages of errors are left out."""

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error as `loop.set_exception_handler` wants it."""
        message, now = context["message"], time.monotonic()
        if now - self._logged.get(message, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged[message] = now
            log.error(message, exc_info=context.get("exception"))
