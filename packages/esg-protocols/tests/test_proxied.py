"""The PROXY protocol in front of HTTP: what is taken, what is refused, and that HTTP then is as ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from esg_protocols.asgi import ProxiedProtocol, ServerContext
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n"
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
V2_UNIX = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8" + bytes(216)
REQUEST = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENT = ("203.0.113.7", 51234)
PEER = ("127.0.0.1", 50000)


class Front:
    """A connection behind a proxy, over a FakeTransport.

    Attributes:
        scopes: of the requests that came.
    """

    def __init__(self, logger: logging.Logger, settings: dict[str, Any], trusted: bool) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.asked: list[Any] = []
        self.context = ServerContext(
            self.app, Settings(**settings), loop=asyncio.get_running_loop(), error_logger=logger, access_logger=logger
        )
        self.clock = FakeClock(self.context)
        self.trusted = trusted
        self.protocol = ProxiedProtocol(self.context, self.is_trusted)
        self.transport = FakeTransport(self.protocol)

    def is_trusted(self, client: Any, server: Any) -> bool:
        self.asked.append((client, server))
        return self.trusted

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def answers(self) -> int:
        await self.settle()
        return self.transport.take().count(b"HTTP/1.1 200 OK\r\n")


Case = Callable[[Front], Coroutine[Any, Any, None]]
Play = Callable[..., list[str]]


@pytest.fixture
def play(caplog: pytest.LogCaptureFixture) -> Play:
    """Play a case; what the log has of it."""

    def play(case: Case, *, trusted: bool = True, **settings: Any) -> list[str]:
        async def story() -> None:
            front = Front(logging.getLogger("front"), settings, trusted)
            await case(front)
            if not front.transport.closed:
                front.transport.lose()
            await front.settle()
            assert not front.context.connections
            assert not front.context.tasks

        with caplog.at_level(logging.INFO):
            asyncio.run(story())
        return caplog.messages

    return play


def test_the_client_that_the_proxy_names(play: Play) -> None:
    async def case(front: Front) -> None:
        front.transport.receive(V1 + REQUEST)
        assert await front.answers() == 1
        front.transport.receive(REQUEST)
        assert await front.answers() == 1
        assert [scope["client"] for scope in front.scopes] == [CLIENT, CLIENT]
        assert [scope["server"] for scope in front.scopes] == [("127.0.0.1", 8000)] * 2
        assert front.asked == [(PEER, ("127.0.0.1", 8000))]
        assert front.context.counters.connections == 1

    assert play(case) == ['203.0.113.7:51234 - "GET /one HTTP/1.1" 200'] * 2


def test_every_split(play: Play) -> None:
    async def case(front: Front) -> None:
        for split in range(len(V1 + REQUEST) + 1):
            transport = FakeTransport(ProxiedProtocol(front.context, front.is_trusted))
            transport.receive((V1 + REQUEST)[:split])
            await front.settle()
            transport.receive((V1 + REQUEST)[split:])
            await front.settle()
            assert transport.take().count(b"200 OK") == 1
            assert front.scopes.pop()["client"] == CLIENT
            transport.lose()

    play(case)


def test_pipelined_behind_the_header(play: Play) -> None:
    async def case(front: Front) -> None:
        front.transport.receive(V1 + REQUEST * 3)
        assert await front.answers() == 3

    play(case)


@pytest.mark.parametrize(
    ("header", "client"),
    [(V2_LOCAL, PEER), (b"PROXY UNKNOWN\r\n", PEER), (V2_UNIX, None)],
    ids=["local", "unknown", "unix"],
)
def test_clients_without_an_address(play: Play, header: bytes, client: Any) -> None:
    async def case(front: Front) -> None:
        front.transport.receive(header + REQUEST)
        assert await front.answers() == 1
        assert front.scopes[0]["client"] == client

    play(case)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (REQUEST, "a bad PROXY header: there is none"),
        (b"PROXY TCP4 1.2.3.4 1.2.3 1 1\r\n" + REQUEST, "a bad PROXY header: b'1.2.3' is not an address of its family"),
    ],
)
def test_what_is_not_a_header_ends_the_connection(play: Play, sent: bytes, reason: str) -> None:
    async def case(front: Front) -> None:
        front.transport.receive(sent)
        await front.settle()
        assert (front.transport.aborted, front.transport.take(), front.scopes) == (True, b"", [])
        assert front.context.counters.protocol_errors == 1

    assert play(case) == [f"Connection closed, from 127.0.0.1:50000: {reason}"]


def test_a_peer_that_is_not_trusted(play: Play) -> None:
    async def case(front: Front) -> None:
        assert front.transport.aborted
        front.transport.receive(V1 + REQUEST)
        await front.settle()
        assert not front.scopes

    message = "Connection closed, from 127.0.0.1:50000: it may not send a PROXY header (proxy_protocol_from)"
    assert play(case, trusted=False) == [message]


def test_a_peer_that_has_left_already(play: Play) -> None:
    async def case(front: Front) -> None:
        protocol = ProxiedProtocol(front.context, front.is_trusted)
        assert FakeTransport(protocol, extra={"peername": None}).aborted
        assert len(front.asked) == 1  # about the other one

    assert play(case) == []


def test_a_header_that_does_not_come_in_time(play: Play) -> None:
    async def case(front: Front) -> None:
        front.transport.receive(V1[:10])
        front.clock.advance(2)
        assert not front.transport.closed
        front.clock.advance(2)
        assert front.transport.aborted
        assert front.context.counters.head_timeouts == 1

    message = "127.0.0.1:50000: a PROXY header that came too slowly (timeout_request_head is 2)"
    assert play(case, timeout_request_head=2) == [message]


def test_the_head_behind_it_has_its_own_time(play: Play) -> None:
    async def case(front: Front) -> None:
        front.clock.advance(2)
        front.transport.receive(V1 + REQUEST[:5])
        front.clock.advance(2)
        front.transport.receive(REQUEST[5:])
        assert await front.answers() == 1

    play(case, timeout_request_head=2)


def test_a_peer_that_only_looks(play: Play) -> None:
    async def case(front: Front) -> None:
        front.transport.receive_eof()
        assert front.transport.closed

    assert play(case) == []


def test_an_end_in_the_header(play: Play) -> None:
    async def case(front: Front) -> None:
        front.transport.receive(V1[:-1])
        front.transport.receive_eof()
        assert front.transport.closed

    assert play(case) == ["Connection closed, from 127.0.0.1:50000: the connection ended in its PROXY header"]


def test_a_stop_waits_a_moment_for_the_header(play: Play) -> None:
    async def case(front: Front) -> None:
        front.context.closing = True
        front.protocol.shutdown()
        front.transport.receive(V1 + REQUEST)
        assert await front.answers() == 1
        assert front.transport.closed or front.transport.eof_written

    play(case)


def test_a_stop_does_not_wait_for_ever(play: Play) -> None:
    async def case(front: Front) -> None:
        front.context.closing = True
        front.protocol.shutdown()
        front.clock.advance(3)
        assert front.transport.closed

    assert play(case) == []


def test_it_counts_as_a_connection(play: Play) -> None:
    async def case(front: Front) -> None:
        assert front.context.connections == {front.protocol}
        front.transport.receive(V1)
        (http,) = front.context.connections
        assert http is front.transport.protocol
        assert http is not front.protocol

    play(case)
