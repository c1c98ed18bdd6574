"""Answer errors that nobody else caught as problems."""

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import ProblemError
from serve.service import Service


class ErrorAnswers:
    """Answer what the application behind raises; it stands behind `RequestID`.

    After an answer has begun the error is logged and raised again, so that the server cuts the connection.

    Args:
        app: the application behind.
        service: counts and logs the errors.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer if it fails."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_and_note_begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_begin)
        except (Exception, asyncio.CancelledError) as error:
            response = await self.service.refuse(Request(scope), _without_cancelling(error))
            if begun:
                raise
            await response(scope, receive, send)


def _without_cancelling(error: Exception | asyncio.CancelledError) -> Exception:
    """Tell a client of a request that is cancelled, which the server does when SIGTERM has waited long enough."""
    if isinstance(error, asyncio.CancelledError):
        return ProblemError("overloaded", "The service is ending; ask again.")
    return error
