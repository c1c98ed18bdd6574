"""Bound the time that a client may take to send its request, and to take each part of the answer."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import ProblemError


class TransferTime:
    """Give up on clients that stall; the work in between takes as long as it takes.

    Args:
        app: the application behind. To it a request that does not arrive in time is a `ProblemError` of type
            "too-slow", and an answer that is not taken in time a `TimeoutError`.
        seconds: how long the whole request may take, and each part of the answer.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with bounds on what it receives and sends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self.seconds):
                await send(message)

        await self.app(scope, self._in_time(receive), send_in_time)

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
