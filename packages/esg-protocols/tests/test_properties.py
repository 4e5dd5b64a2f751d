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
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.http1 import HTTPConnection
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

Judge = Callable[..., Any]

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /path?query HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BYTES = st.one_of(st.sampled_from(b"\r\n\t \x00:;,/?#%0159afGHP\xff"), st.integers(0, 255))


@st.composite
def streams(draw: Any) -> bytes:
    """Requests behind one another, some of them damaged."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "cut", "repeat"]))
        if kind == "set" and at < len(data):
            data[at] = draw(BYTES)
        elif kind == "insert":
            data.insert(at, draw(BYTES))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 10))]
        elif kind == "cut":
            del data[at:]
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@st.composite
def pieces(draw: Any) -> list[bytes]:
    data = draw(st.one_of(streams(), st.binary(max_size=60)))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def check(written: bytes, methods: list[str], ended: bool, judge: Judge, incomplete: Any) -> None:
    """Every exchange was answered in turn, except the last one, which may still wait; then a refusal, then nothing."""
    try:
        answers, rest = judge(written, methods, eof=ended)
    except (incomplete, h11.RemoteProtocolError):
        # The last request waits for more of its body, or will never get it.
        answers, rest = judge(written, methods[:-1], eof=ended)
        assert rest in (b"", CONTINUE)
        return
    if rest:
        (refusal,), rest = judge(rest, ["GET"], eof=True)
        assert refusal.status >= 400
        assert refusal.header(b"connection") == b"close"
        assert ended
    assert rest == b""
    for answer in answers[:-1]:
        assert answer.header(b"connection") != b"close"


@settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
                written += connection.send_response(200, headers)
                written += connection.send_body(body)
                if connection.must_close:
                    connection.close()
                    break
                events = connection.next_exchange()
        except RemoteProtocolError as error:
            written += connection.send_refusal(error.status)
        if connection.must_close:
            break
    check(written, methods, connection.must_close, judge, incomplete)


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        await send({"type": "http.response.start", "status": 200})
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
        check(written, methods, ended, judge, incomplete)
        return transport

    asyncio.run(story())
    assert not problems
