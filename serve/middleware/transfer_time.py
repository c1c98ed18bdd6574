"""Bound the time that a client may take to send its request, and to take the answer."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import ProblemError

SLOWEST = 64 * 1024
"""Bytes a second at which an answer must be taken, after the seconds that each has."""


class TransferTime:
    """Give up on clients that stall; the work in between takes as long as it takes.

    Args:
        app: the application behind. To it a request that does not arrive in time is a `ProblemError` of type
            "too-slow", and an answer that is not taken in time a `TimeoutError`.
        seconds: how long the whole request may take, each part of the answer, and the whole answer besides a second for
            each `SLOWEST` bytes.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with bounds on what it receives and sends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self.app(scope, self._in_time(receive), self._taken_in_time(send))

    def _taken_in_time(self, send: Send) -> Send:
        """Bound the time that sending takes in all; the work between the parts does not count."""
        left = self.seconds

        async def send_in_time(message: Message) -> None:
            nonlocal left
            begun = asyncio.get_running_loop().time()
            async with asyncio.timeout(min(left, self.seconds)):
                await send(message)
            left += len(message.get("body", b"")) / SLOWEST - (asyncio.get_running_loop().time() - begun)

        return send_in_time

    def _in_time(self, receive: Receive) -> Receive:
        """Bound the time until the last part of the body; what comes later is a disconnect, which may take long."""
        deadline = asyncio.get_running_loop().time() + self.seconds
        arrived = False

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
