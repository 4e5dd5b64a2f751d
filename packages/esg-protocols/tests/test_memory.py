"""Nothing grows: with the cycle collector off, requests and connections leave no object behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

InLoop = Callable[[Coroutine[Any, Any, None]], None]

GET = b"GET /path?query HTTP/1.1\r\nHost: a\r\nX-Something: else\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
PART = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5000
BAD = b"nonsense\r\n\r\n"

SLACK = 60
"""Objects that may come and go for other reasons; each of the leaks looked for would be hundreds."""


@pytest.fixture(autouse=True, scope="module")
def no_cycle_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # what is there already need not be counted each time
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def waiting(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0)
    await echo(scope, receive, send)
    await asyncio.sleep(0)
    await receive()


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError


async def failing_late(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def early(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


async def outliving(scope: Any, receive: Any, send: Any) -> None:
    await early(scope, receive, send)
    for _ in range(3):
        await asyncio.sleep(0)


def make_context(app: Any) -> ServerContext:
    logger = logging.Logger("esg.error")
    logger.addHandler(logging.NullHandler())
    context = ServerContext(app, Settings(), loop=asyncio.get_running_loop(), state={"a": 1}, error_logger=logger)
    FakeClock(context)
    return context


async def settle(context: ServerContext) -> None:
    """Turns of the loop until there has been no task for some of them."""
    quiet = 0
    for _ in range(500):
        await asyncio.sleep(0)
        quiet = 0 if context.tasks else quiet + 1
        if quiet == 5:
            return
    raise AssertionError("a task never ends")


async def stays_flat(work: Callable[[], Awaitable[None]], rounds: int) -> None:
    """Do ``work`` many times; neither objects nor blocks of memory may become more."""
    for _ in range(20):
        await work()
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    for _ in range(rounds):
        await work()
    assert len(gc.get_objects()) - objects < SLACK
    assert sys.getallocatedblocks() - blocks < 4 * SLACK


@pytest.mark.parametrize("app", [echo, waiting, outliving, early], ids=lambda app: app.__name__)
@pytest.mark.parametrize("data", [GET, POST, CHUNKED, GET * 10], ids=["GET", "POST", "chunked", "pipeline"])
def test_requests_on_one_connection(data: bytes, app: Any, in_loop: InLoop) -> None:
    async def story() -> None:
        context = make_context(app)
        transport = FakeTransport(HTTPProtocol(context))

        async def work() -> None:
            transport.receive(data)
            await settle(context)
            assert transport.take().count(b"HTTP/1.1 200 OK") == data.count(b"HTTP/1.1")

        await stays_flat(work, 5000 if data is GET else 200)
        assert not transport.closed

    in_loop(story())


@pytest.mark.parametrize("app", [echo, waiting, failing, failing_late, early, outliving], ids=lambda app: app.__name__)
@pytest.mark.parametrize(
    "data",
    [b"", GET, GET[:20], CLOSE, POST, PART, BAD, GET + BAD, GET * 20, GET + PART],
    ids=["nothing", "GET", "half", "close", "POST", "aborted", "bad", "then bad", "pipeline", "then aborted"],
)
@pytest.mark.parametrize("end", ["lose", "receive_eof"])
def test_connections(end: str, data: bytes, app: Any, in_loop: InLoop) -> None:
    async def story() -> None:
        context = make_context(app)

        async def work() -> None:
            transport = FakeTransport(HTTPProtocol(context))
            if data:
                transport.receive(data)
            getattr(transport, end)()
            await settle(context)
            transport.close()
            await settle(context)

        await stays_flat(work, 500 if app is echo else 150)
        assert not context.connections

    in_loop(story())


def test_responses_that_a_client_does_not_wait_for(in_loop: InLoop) -> None:
    async def story() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

        context = make_context(app)

        async def work() -> None:
            transport = FakeTransport(HTTPProtocol(context))
            transport.fill()
            transport.receive(GET)
            await asyncio.sleep(0)
            transport.lose()
            await settle(context)

        await stays_flat(work, 500)

    in_loop(story())


def test_a_body_that_nobody_reads_is_not_kept(in_loop: InLoop) -> None:
    async def story() -> None:
        context = make_context(early)
        transport = FakeTransport(HTTPProtocol(context))
        transport.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        await settle(context)

        async def work() -> None:
            transport.receive(b"x" * 200)

        await stays_flat(work, 1000)
        assert not transport.closed

    in_loop(story())


def test_a_long_stream(in_loop: InLoop) -> None:
    async def story() -> None:
        go: asyncio.Queue[bytes] = asyncio.Queue()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            while True:
                await send({"type": "http.response.body", "body": await go.get(), "more_body": True})

        context = make_context(app)
        transport = FakeTransport(HTTPProtocol(context))
        transport.receive(GET)

        async def work() -> None:
            go.put_nowait(b"tick")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert transport.take()

        await asyncio.sleep(0)
        await stays_flat(work, 2000)
        transport.lose()
        go.put_nowait(b"tick")
        await settle(context)

    in_loop(story())
