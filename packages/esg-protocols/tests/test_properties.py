"""Whatever comes in, in whatever pieces: what goes out is whole responses that h11 can read, or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import h11
import pytest
from esg_parser import END
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.http1 import HTTPConnection
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import example, given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tools.examples import examples  # noqa: E402

from .random_bytes import method_of_the_bad_one, pieces  # noqa: E402

Judge = Callable[..., Any]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def check(written: bytes, methods: list[str], refused: str, ended: bool, judge: Judge, incomplete: Any) -> None:
    """Every exchange was answered in turn, except the last one, which may still wait; then a refusal, then nothing."""
    try:
        answers, rest = judge(written, methods, eof=ended)
    except (incomplete, h11.RemoteProtocolError):
        # The last request waits for more of its body, or will never get it.
        answers, rest = judge(written, methods[:-1], eof=ended)
        assert rest in (b"", CONTINUE)
        return
    if rest:
        (refusal,), rest = judge(rest, [refused], eof=True)
        assert refusal.status >= 400
        assert refusal.header(b"connection") == b"close"
        assert ended
    assert rest == b""
    for answer in answers[:-1]:
        assert answer.header(b"connection") != b"close"


@examples(400)
@given(pieces=pieces(), length=st.booleans())
def test_the_connection_without_io(pieces: list[bytes], length: bool, judge: Judge, incomplete: Any) -> None:
    connection, methods, written, body = HTTPConnection(), [], b"", b""
    for piece in pieces:
        try:
            events = connection.receive_data(piece)
            while events:
                for event in events:
                    if isinstance(event, bytes):
                        body += event
                    elif hasattr(event, "method"):
                        methods.append(event.method)
                        body = b""
                        written += connection.send_continue()
                if END not in events:
                    break
                headers = [(b"content-length", b"%d" % len(body))] if length else []
                # 200 to CONNECT would begin a tunnel.
                written += connection.send_response(405 if methods[-1] == "CONNECT" else 200, headers)
                written += connection.send_body(body)
                if connection.must_close:
                    connection.close()
                    break
                events = connection.next_exchange()
        except RemoteProtocolError as error:
            written += connection.send_refusal(error.status)
        if connection.must_close:
            break
    refused = method_of_the_bad_one(b"".join(pieces))
    check(written, methods, refused, connection.must_close, judge, incomplete)


@examples(300)
@given(pieces=pieces(), wait=st.booleans(), read=st.booleans(), eof=st.booleans(), turns=st.booleans())
def test_the_protocol(
    pieces: list[bytes], wait: bool, read: bool, eof: bool, turns: bool, judge: Judge, incomplete: Any
) -> None:
    methods: list[str] = []
    problems: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        methods.append(scope["method"])
        if wait:
            await asyncio.sleep(0)
        body, more = b"", read
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        # 200 to CONNECT would begin a tunnel.
        await send({"type": "http.response.start", "status": 405 if scope["method"] == "CONNECT" else 200})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    async def story() -> FakeTransport:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, problem: problems.append(problem))
        logger = logging.Logger("esg.error")
        logger.addHandler(logging.NullHandler())
        context = ServerContext(app, Settings(), loop=loop, error_logger=logger)
        clock = FakeClock(context)
        transport = FakeTransport(HTTPProtocol(context))
        for piece in pieces:
            transport.receive(piece)
            if turns:
                await asyncio.sleep(0)
        if eof:
            transport.receive_eof()
        for _ in range(60):
            await asyncio.sleep(0)
        assert context.counters.app_errors == 0
        ended = transport.closed or transport.eof_written
        written = transport.take()
        # And in the end nothing is left.
        transport.lose()
        clock.advance(10)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not context.tasks
        assert not context.connections
        check(written, methods, method_of_the_bad_one(b"".join(pieces)), ended, judge, incomplete)
        return transport

    asyncio.run(story())
    assert not problems


# -- Anything in any order -------------------------------------------------------------------------------------------

KINDS = ["now", "wait", "read", "stream", "early", "outlive", "leave", "listen", "keep", "fail", "late", "short"]


class TooShort(Exception):
    pass


class Behaviours:
    """An app whose requests say by their path what it does, and whose answers say which request they are to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.kept: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        await getattr(self, scope["path"].split("/")[1])(scope["path"].encode(), receive, send)

    async def now(self, name: bytes, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": name})

    async def wait(self, name: bytes, receive: Any, send: Any) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await self.now(name, receive, send)

    async def read(self, name: bytes, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        assert body in (b"", b"b" * 10)
        await self.now(name, receive, send)

    async def stream(self, name: bytes, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for i in range(len(name)):
            await send({"type": "http.response.body", "body": name[i : i + 1], "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body"})

    async def early(self, name: bytes, receive: Any, send: Any) -> None:
        await receive()
        await self.now(name, receive, send)

    async def outlive(self, name: bytes, receive: Any, send: Any) -> None:
        await self.now(name, receive, send)
        assert (await receive())["type"] == "http.disconnect"
        for _ in range(5):
            await asyncio.sleep(0)
        assert (await receive())["type"] == "http.disconnect"

    async def leave(self, name: bytes, receive: Any, send: Any) -> None:
        self.kept.append(asyncio.ensure_future(receive()))
        await asyncio.sleep(0)
        await self.now(name, receive, send)

    async def listen(self, name: bytes, receive: Any, send: Any) -> None:
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        listening.cancel()
        await self.stream(name, receive, send)

    async def keep(self, name: bytes, receive: Any, send: Any) -> None:
        self.kept += [receive, send]
        await self.wait(name, receive, send)

    async def fail(self, name: bytes, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def late(self, name: bytes, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def short(self, name: bytes, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9999")]})
        try:
            await send({"type": "http.response.body", "body": name})
        except LocalProtocolError:
            raise TooShort from None


OPERATIONS = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(KINDS)),
    st.tuples(st.just("post"), st.sampled_from(KINDS)),
    st.tuples(st.just("bytes"), st.integers(1, 120)),
    st.tuples(st.just("turns"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["fill", "drain", "tick", "shutdown", "eof", "lose", "abort", "soon"]), st.just(0)),
)


class Conversation:
    """What a client and a server may do with a connection, one thing after the other."""

    def __init__(self, transport: FakeTransport, clock: FakeClock) -> None:
        self.transport, self.clock = transport, clock
        self.unsent = b""
        self.count = 0
        self.soon = False

    def receive(self, data: bytes) -> None:
        if self.soon:
            # As if the selector had reported it in the same turn as what else there is.
            asyncio.get_running_loop().call_soon(self.transport.receive, data)
        else:
            self.transport.receive(data)

    async def do(self, operation: str, value: Any) -> None:
        if operation in ("get", "post"):
            head = b"%s /%s/%d HTTP/1.1\r\nHost: a\r\n" % (operation.upper().encode(), value.encode(), self.count)
            self.count += 1
            self.unsent += head + (b"\r\n" if operation == "get" else b"Content-Length: 10\r\n\r\n" + b"b" * 10)
        elif operation == "bytes":
            data, self.unsent = self.unsent[:value], self.unsent[value:]
            self.receive(data)
        elif operation == "turns":
            for _ in range(value):
                await asyncio.sleep(0)
        elif operation == "soon":
            self.soon = True  # for good, or bytes would come out of order
        elif operation == "tick":
            self.clock.advance(1)
        elif operation in ("shutdown", "abort"):
            getattr(self.transport.protocol, operation)()
        elif operation == "lose":
            await asyncio.sleep(0)  # a loop tells of it behind what it has called soon in that turn
            self.transport.lose()
        elif not self.transport.closed:
            getattr(self.transport, {"eof": "receive_eof"}.get(operation, operation))()


MOST_OPERATIONS, MOST_TURNS = 40, 16
"""How many there are in an example, and how many turns of the loop each of them takes at the most."""


@examples(300)
@example(operations=[*[("get", "wait")] * 2, ("get", "leave"), *[("get", "listen")] * 4, ("get", "now")])
@given(operations=st.lists(OPERATIONS, max_size=MOST_OPERATIONS))
def test_anything_in_any_order(operations: list[Any], judge: Judge, incomplete: Any) -> None:
    """Whatever happens: answers are right and in order, no callback fails, and in the end nothing is left."""
    problems: list[Any] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, problem: problems.append(problem))
        logger = logging.Logger("esg.error")
        errors: list[Any] = []
        logger.addFilter(lambda record: bool(errors.append(record)))  # type: ignore[func-returns-value]
        app = Behaviours()
        context = ServerContext(app, Settings(), loop=loop, error_logger=logger)
        clock = FakeClock(context)
        transport = FakeTransport(HTTPProtocol(context))
        conversation = Conversation(transport, clock)
        for operation, value in operations:
            await conversation.do(operation, value)
        conversation.receive(conversation.unsent)
        await conversation.do("turns", MOST_OPERATIONS * MOST_TURNS)
        written = transport.take()
        await conversation.do("lose", 0)
        await conversation.do("turns", 30)
        assert not context.tasks
        assert not context.connections
        for record in errors:
            assert record.exc_info is None or record.exc_info[0] in (ZeroDivisionError, TooShort), record.exc_info
        answered = 0
        for name in app.begun:
            try:
                (answer,), written = judge(written, ["GET"])
            except incomplete:
                break
            answered += 1
            assert answer.status == (500 if name.startswith("/fail") else 200)
            assert answer.status == 500 or answer.body == name.encode()
        assert written.count(b"HTTP/1.1 ") <= 1
        assert [int(name.split("/")[2]) for name in app.begun] == list(range(len(app.begun)))
        # One is in work at a time; answers that have not left are lost with the connection.
        assert len(app.begun) - answered <= 1 or ("lose", 0) in operations
        for kept in app.kept:
            if isinstance(kept, asyncio.Future):
                assert (await kept)["type"] in ("http.disconnect", "http.request")

    asyncio.run(story())
    assert not problems
