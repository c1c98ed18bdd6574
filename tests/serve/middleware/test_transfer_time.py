"""Clients that stall are given up, and work in between may take as long as it takes."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.middleware.transfer_time import TransferTime
from serve.problems import ProblemError

SECONDS = 0.01
SCOPE = {"type": "http"}
PART = {"type": "http.request", "body": b"part", "more_body": True}
LAST = {"type": "http.request", "body": b"last", "more_body": False}


async def never(*_: Message) -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def take(message: Message) -> None:
    pass


def run(app: object, messages: list[Message], send: object = take) -> None:
    """Calls an application behind `TransferTime`; after the messages nothing arrives any more."""
    arriving = iter(messages)

    async def receive() -> Message:
        return next(arriving, None) or await never()

    asyncio.run(TransferTime(app, SECONDS)(SCOPE, receive, send))  # type: ignore[arg-type] # of these types


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["more_body"]:
        pass


def test_a_request_that_stalls_is_a_problem() -> None:
    with pytest.raises(ProblemError) as raised:
        run(read_all, [PART])
    assert raised.value.type == "too-slow"


def test_an_answer_that_is_not_taken_ends() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start"})

    with pytest.raises(TimeoutError):
        run(answer, [], send=never)


def test_an_answer_that_is_taken_a_little_at_a_time_ends() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def take_slowly(message: Message) -> None:
        await asyncio.sleep(SECONDS / 4)

    with pytest.raises(TimeoutError):
        run(answer, [], send=take_slowly)


def test_work_after_the_last_part_takes_as_long_as_it_takes() -> None:
    done = []

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(scope, receive, send)
        waiting = asyncio.ensure_future(receive())  # for a disconnect, as a stream of answers does
        await asyncio.sleep(5 * SECONDS)
        done.append(not waiting.done())
        waiting.cancel()

    run(work, [PART, LAST])
    assert done == [True]
