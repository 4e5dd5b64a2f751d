"""The fakes themselves: they do what the real things do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from esg_protocols.asgi import HTTPProtocol, ServerContext
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

InLoop = Callable[[Coroutine[Any, Any, None]], None]


class Recorder(asyncio.Protocol):
    """A protocol that notes what it is told."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.calls: list[Any] = []
        self.keep_open = keep_open

    def connection_made(self, transport: Any) -> None:
        self.calls.append("made")

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append(("lost", error))

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def take(self) -> list[Any]:
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def protocol() -> Recorder:
    return Recorder()


@pytest.fixture
def transport(protocol: Recorder) -> FakeTransport:
    made = FakeTransport(protocol)
    assert protocol.take() == ["made"]
    return made


def test_bytes_go_both_ways(transport: FakeTransport, protocol: Recorder) -> None:
    transport.receive(b"in")
    assert protocol.take() == [b"in"]
    transport.write(b"o")
    transport.writelines([b"u", bytearray(b"t"), memoryview(b"!")])
    assert transport.written == b"out!"
    assert transport.take() == b"out!"
    assert transport.take() == b""


@pytest.mark.parametrize("way", ["close", "abort", "lose"])
def test_the_end_is_told_once(way: str, transport: FakeTransport, protocol: Recorder) -> None:
    assert not transport.is_closing()
    for _ in range(2):
        getattr(transport, way)()
    assert transport.closed
    assert transport.is_closing()
    assert protocol.take() == [("lost", None)]
    transport.write(b"late")
    transport.receive(b"late")
    transport.receive_eof()
    assert transport.written == b""
    assert protocol.take() == []


def test_a_connection_may_break(transport: FakeTransport, protocol: Recorder) -> None:
    error = ConnectionResetError()
    transport.lose(error)
    assert protocol.take() == [("lost", error)]


def test_the_end_of_the_input_closes_what_does_not_stay_open() -> None:
    for keep_open in (False, True):
        protocol = Recorder(keep_open=keep_open)
        transport = FakeTransport(protocol)
        transport.receive_eof()
        assert transport.closed is not keep_open
        assert "eof" in protocol.calls


def test_write_eof(transport: FakeTransport) -> None:
    assert transport.can_write_eof()
    assert not transport.eof_written
    transport.write_eof()
    assert transport.eof_written
    assert not transport.closed


def test_reading_is_paused_and_resumed(transport: FakeTransport) -> None:
    assert transport.is_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    assert not transport.reading
    transport.resume_reading()
    assert transport.is_reading()


def test_a_client_that_stops_reading(transport: FakeTransport, protocol: Recorder) -> None:
    transport.fill()
    transport.write(b"kept")
    transport.drain()
    assert protocol.take() == ["pause", "resume"]
    assert transport.written == b"kept"


def test_the_marks_of_the_write_buffer(transport: FakeTransport) -> None:
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.set_write_buffer_limits(high=400)
    assert transport.get_write_buffer_limits() == (100, 400)
    transport.set_write_buffer_limits()
    assert transport.get_write_buffer_limits() == (16384, 65536)


def test_what_is_known_of_the_socket() -> None:
    transport = FakeTransport(Recorder(), extra={"sslcontext": "tls", "peername": ("::1", 1)})
    assert transport.get_extra_info("sslcontext") == "tls"
    assert transport.get_extra_info("peername") == ("::1", 1)
    assert transport.get_extra_info("sockname") == ("127.0.0.1", 8000)
    assert transport.get_extra_info("nothing", 5) == 5


def test_a_fake_clock_moves_by_hand(in_loop: InLoop) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def story() -> None:
        context = ServerContext(app, Settings(), loop=asyncio.get_running_loop())
        clock = FakeClock(context)
        clock.start()
        assert context.now == clock.now == clock.time() == 1000.0
        assert context.date_line == b"date: Thu, 01 Jan 1970 00:16:40 GMT\r\n"
        transport = FakeTransport(HTTPProtocol(context))
        transport.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport.take().startswith(b"HTTP/1.1 204 ")
        clock.advance(5)
        assert context.now == 1005.0
        assert not transport.closed
        clock.advance(2)
        assert transport.closed
        clock.stop()

    in_loop(story())


def test_a_fake_clock_moves_by_parts_of_a_second(in_loop: InLoop) -> None:
    async def story() -> None:
        context = ServerContext(None, Settings(), loop=asyncio.get_running_loop())
        clock = FakeClock(context)
        clock.advance(2.5)
        assert context.now == 1002.5
        clock.advance(0.25)
        assert context.now == 1002.75

    in_loop(story())
