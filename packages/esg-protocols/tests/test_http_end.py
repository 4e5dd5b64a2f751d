"""How connections end: keep-alive by the clock, half closes, lingering, shutdown, and losing the transport."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.testing import FakeTransport

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
STREAM = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"hello"}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


def gated() -> tuple[Any, asyncio.Event]:
    """An app that answers when it is let."""
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await hello(scope, receive, send)

    return app, go


# -- Keep-alive ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 1, 5, 75])
def test_an_idle_connection_is_closed_in_time(timeout: int, play_steps: Play) -> None:
    """Never early, and no more than two ticks late: one for the age of the clock's time, one for the tick itself."""

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.answer()
        client.clock.advance(timeout)
        await client.settle()
        assert not client.ended
        client.clock.advance(2)
        assert await client.end() == b""

    play_steps(hello, case, settings={"timeout_keep_alive": timeout})


def test_a_connection_that_is_used_is_not_closed(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        for _ in range(10):
            await client.send(GET)
            await client.answer()
            client.clock.advance(5)
            await client.settle()
        assert not client.ended

    play_steps(hello, case, settings={"timeout_keep_alive": 5})


def test_a_request_in_the_nick_of_time(play_steps: Play) -> None:
    """The deadline that ran before a request has no say in it."""

    async def case(client: Any) -> None:
        client.app = hello
        await client.send(GET)
        await client.answer()
        client.clock.advance(5)
        client.app, go = gated()
        await client.send(GET)
        await client.until(lambda: client.context.counters.requests == 2)
        client.clock.advance(100)
        await client.nothing_more()
        go.set()
        assert (await client.answer()).body == b"hello"
        client.clock.advance(5)
        await client.nothing_more()
        client.clock.advance(2)
        assert await client.end() == b""

    play_steps(None, case, settings={"timeout_keep_alive": 5})


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_a_second_pipelined_request_slower_than_the_timeout(wait: bool, play_steps: Play) -> None:
    async def case(client: Any) -> None:
        slow, go = gated()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if wait:
                await asyncio.sleep(0)
            await (slow if scope["path"] == "/slow" else hello)(scope, receive, send)

        client.app = app
        await client.send(GET + GET.replace(b"/ ", b"/slow "))
        assert (await client.answer()).body == b"hello"
        await client.until(lambda: client.context.counters.requests == 2)
        client.clock.advance(100)
        await client.nothing_more()
        go.set()
        assert (await client.answer()).body == b"hello"
        await client.nothing_more()

    play_steps(None, case, settings={"timeout_keep_alive": 5})


def test_a_slow_upload_is_no_idle_connection(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["more_body"]:
                pass
            await hello(scope, receive, send)

        client.app = app
        await client.send(POST)
        for i in range(10):
            client.clock.advance(3)
            await client.send(b"%d" % i)
            await client.settle()
        assert (await client.answer("POST")).body == b"hello"

    play_steps(None, case, settings={"timeout_keep_alive": 2})


# -- Held heads ------------------------------------------------------------------------------------------------------


def test_a_head_that_waits_for_its_body_leaves_at_the_tick(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await go.wait()
            await send(BODY)

        client.app = app
        await client.send(GET)
        await client.nothing_more()
        client.clock.advance(1)
        await client.until(lambda: client.ended or client.received)
        await client.settle()
        assert client.received.endswith(b"\r\n\r\n")
        client.clock.advance(1)
        go.set()
        assert (await client.answer()).body == b"hello"
        await client.nothing_more()

    play_steps(None, case)


# -- Half closes -----------------------------------------------------------------------------------------------------


def test_a_client_that_closes_its_side_is_answered(play: Play) -> None:
    async def case(client: Any) -> None:
        client.app, go = gated()
        await client.send(GET)
        await client.send_eof()
        await client.settle()
        assert not client.ended
        go.set()
        assert (await client.answer()).body == b"hello"
        assert await client.end() == b""
        await client.until(lambda: not client.context.connections)

    play(None, case)


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_a_client_that_closes_its_side_behind_many_requests(wait: bool, play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wait:
            await asyncio.sleep(0)
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(GET * 40)
        await client.send_eof()
        assert len(await client.answers(["GET"] * 40)) == 40
        assert await client.end() == b""
        await client.until(lambda: not client.context.connections)

    play(app, case)


def test_a_client_that_closes_its_side_while_it_streams(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(STREAM)
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await go.wait()
            await send({"type": "http.response.body", "body": b"two", "more_body": True})
            await send({"type": "http.response.body"})

        client.app = app
        await client.send(GET)
        await client.until(lambda: client.ended or client.received)
        await client.send_eof()
        await client.settle()
        go.set()
        assert (await client.answer()).body == b"onetwo"
        assert await client.end() == b""

    play_steps(None, case)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET[:-2]], ids=["nothing", "a beginning", "most of a head"])
def test_the_end_before_a_request(sent: bytes, play: Play) -> None:
    async def case(client: Any) -> None:
        if sent:
            await client.send(sent, more=True)
        await client.send_eof()
        assert await client.end() == b""
        await client.until(lambda: not client.context.connections)
        assert client.context.counters.requests == 0

    play(hello, case)


def test_the_end_between_requests(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.answer()
        await client.send_eof()
        assert await client.end() == b""
        await client.until(lambda: not client.context.connections)

    play(hello, case)


@pytest.mark.parametrize("second", [POST, POST + b"01234"], ids=["no body", "half a body"])
def test_the_end_inside_the_second_of_two_requests(second: bytes, play_steps: Play) -> None:
    """What began before the end of the input is answered; the app of what did not is told that nothing comes."""
    messages: list[Any] = []

    async def case(client: Any) -> None:
        first, go = gated()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "GET":
                await first(scope, receive, send)
            else:
                while not messages or messages[-1]["type"] != "http.disconnect":
                    messages.append(await receive())

        client.app = app
        await client.send(GET + second, more=True)
        await client.send_eof()
        await client.settle()
        go.set()
        assert (await client.answer()).body == b"hello"
        assert await client.end() == b""
        await client.until(lambda: not client.context.connections and not client.context.tasks)
        assert not [message for message in messages if not message.get("more_body", True)]

    play_steps(None, case)


# -- Lingering -------------------------------------------------------------------------------------------------------


def test_an_answer_to_a_client_that_still_sends_gets_through(play_steps: Play) -> None:
    """Our side is closed first, and theirs when they have read the answer: a reset could overtake it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"5"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(POST + b"01", more=True)
        answer = await client.answer("POST")
        assert (answer.status, answer.body) == (413, b"hello")
        assert await client.end() == b""
        assert client.context.connections
        await client.send(b"234")
        await client.send(b"567")
        await client.settle()
        assert client.context.connections
        await client.send_eof()
        await client.until(lambda: not client.context.connections)
        assert client.context.counters.requests == 1

    play_steps(app, case)


def test_a_client_that_sends_for_ever_is_cut_off(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b"nonsense\r\n\r\n", more=True)
        assert await client.end()
        for _ in range(3):
            assert client.context.connections
            client.clock.advance(1)
            await client.settle()
        await client.until(lambda: not client.context.connections)
        client.take_errors()

    play_steps(hello, case)


def test_a_client_that_sends_very_much_has_to_wait(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b"nonsense\r\n\r\n", more=True)
        assert await client.end()
        for _ in range(16):
            await client.send(bytes(1 << 20))
        assert client.is_reading()
        await client.send(b"x")
        assert not client.is_reading()
        client.clock.advance(3)
        await client.until(lambda: not client.context.connections)
        client.take_errors()

    play_fake(hello, case)


def test_a_client_that_sent_all_is_closed_at_once(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(CLOSE, more=True)
        await client.answer()
        await client.until(lambda: not client.context.connections)

    play_steps(hello, case)


# -- Shutdown --------------------------------------------------------------------------------------------------------


def test_shutdown_closes_what_is_idle(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.answer()
        fresh = await client.another()
        client.context.closing = True
        for protocol in list(client.context.connections):
            protocol.shutdown()
            protocol.shutdown()
        assert await client.end() == b""
        await fresh.nothing_more()
        fresh.clock.advance(2)
        assert await fresh.end() == b""
        await client.until(lambda: not client.context.connections)

    play(hello, case)


def test_who_has_connected_before_a_shutdown_gets_one_answer(play: Play) -> None:
    """Its request may be on the way: a closed connection would be an error for somebody."""

    async def case(client: Any) -> None:
        await client.send(GET[:20], more=True)
        await client.settle()
        client.context.closing = True
        client.protocol.shutdown()
        await client.send(GET[20:], more=True)
        answer = await client.answer()
        assert (answer.body, answer.header(b"connection")) == (b"hello", b"close")
        assert await client.end() == b""

    play(hello, case)


def test_half_a_head_is_not_waited_for_at_a_shutdown(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET[:20], more=True)
        await client.settle()
        client.context.closing = True
        client.protocol.shutdown()
        client.clock.advance(2)
        assert await client.end() == b""
        assert client.context.counters.head_timeouts == 0

    play(hello, case)


def test_shutdown_lets_a_request_end(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        client.app, go = gated()
        await client.send(GET * 3)
        await client.until(lambda: client.context.counters.requests)
        client.protocol.shutdown()
        await client.nothing_more()
        go.set()
        answer = await client.answer()
        assert (answer.body, answer.header(b"connection")) == (b"hello", b"close")
        assert await client.end() == b""
        assert client.context.counters.requests == 1

    play_steps(None, case)


def test_shutdown_lets_a_response_end_that_has_begun(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(STREAM)
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await go.wait()
            await send({"type": "http.response.body", "body": b"two"})

        client.app = app
        await client.send(GET)
        await client.until(lambda: client.ended or client.received)
        client.protocol.shutdown()
        go.set()
        assert (await client.answer()).body == b"onetwo"
        assert await client.end() == b""

    play_steps(None, case)


def test_shutdown_does_not_wait_for_a_body_that_nobody_wants(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(POST)
        await client.answer("POST")
        client.protocol.shutdown()
        assert await client.end() == b""

    play_steps(hello, case)


def test_shutdown_while_lingering_and_behind_the_end(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b"nonsense\r\n\r\n", more=True)
        await client.end()
        protocol = client.protocol
        protocol.shutdown()
        await client.leave()
        await client.until(lambda: not client.context.connections)
        protocol.shutdown()
        protocol.abort()
        protocol.tick()
        client.take_errors()

    play_steps(hello, case)


def test_a_connection_made_while_closing_gets_one_answer(play: Play) -> None:
    async def case(client: Any) -> None:
        client.context.closing = True
        late = await client.another()
        await late.send(GET)
        assert (await late.answer()).header(b"connection") == b"close"
        assert await late.end() == b""
        assert client.context.counters.connections == 2
        await client.until(lambda: len(client.context.connections) == 1)

    play(hello, case)


def test_on_empty_is_called_when_nothing_is_left(play: Play) -> None:
    async def case(client: Any) -> None:
        calls: list[tuple[int, int]] = []
        context = client.context
        work = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await hello(scope, receive, send)
            await work.wait()

        client.app = app
        await client.send(GET, more=True)
        await client.answer()
        await client.until(lambda: len(context.tasks) == 1)
        context.on_empty = lambda: calls.append((len(context.connections), len(context.tasks)))
        client.protocol.shutdown()
        await client.until(lambda: not context.connections)
        assert calls == []
        work.set()
        await client.until(lambda: not context.tasks)
        assert calls == [(0, 0)]

    play(None, case)


def test_on_empty_is_called_when_the_last_connection_goes(play: Play) -> None:
    async def case(client: Any) -> None:
        calls: list[bool] = []
        client.context.on_empty = lambda: calls.append(True)
        other = await client.another()
        await other.leave()
        await client.until(lambda: len(client.context.connections) == 1)
        assert calls == []
        await client.leave()
        await client.until(lambda: calls)
        assert calls == [True]

    play(hello, case)


# -- Losing the transport --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_bytes", [GET, CLOSE, POST, GET * 3], ids=["keep", "close", "body", "pipeline"])
@pytest.mark.parametrize("paused", [False, True])
def test_an_app_goes_on_in_the_turn_of_an_abort(paused: bool, request_bytes: bytes, play_steps: Play) -> None:
    """The loop tells of a lost connection a turn later; until then every call to the transport must do no harm."""

    async def case(client: Any) -> None:
        outcome: list[Any] = []
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            try:
                await send(STREAM)
                await send({"type": "http.response.body", "body": b"x" * 70_000, "more_body": True})
                await send({"type": "http.response.body", "body": b"x"})
            except OSError as error:
                outcome.append(error)
            finally:
                outcome.append("end")

        client.app = app
        await client.send(request_bytes)
        if paused:
            await client.send(b"x" * 9)
        await client.until(lambda: client.context.counters.requests)
        await client.settle()
        client.wiring.loop.call_soon(go.set)
        client.wiring.loop.call_soon(client.wiring.loop.call_soon, client.protocol.abort)
        client.wiring.loop.call_soon(client.protocol.abort)
        await client.until(lambda: outcome and outcome[-1] == "end")
        await client.until(lambda: not client.context.connections and not client.context.tasks)
        client.take_errors()

    play_steps(None, case, settings={"read_buffer_size": 4})


def test_nothing_is_written_behind_the_end(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        client.app, go = gated()
        await client.send(GET)
        await client.until(lambda: client.context.counters.requests)
        await client.leave()
        await client.until(lambda: not client.context.connections)
        client.received.clear()
        go.set()
        await client.until(lambda: not client.context.tasks)
        assert not client.received

    play_steps(None, case)


def test_a_transport_that_cannot_close_one_side(play_fake: Play) -> None:
    """TLS has no half close: the connection is closed whole, at the cost of a possible reset."""

    class Whole(FakeTransport):
        def can_write_eof(self) -> bool:
            return False

    async def case(client: Any) -> None:
        transport = Whole(client.wiring._protocol())
        transport.receive(b"nonsense\r\n\r\n")
        assert transport.closed
        assert transport.written.startswith(b"HTTP/1.1 ")
        client.take_errors()

    play_fake(hello, case)


def test_a_half_close_over_tls_is_a_whole_one(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        client.app, go = gated()
        secure = await client.another(extra={"sslcontext": object()})
        await secure.send(GET)
        await secure.send_eof()
        assert secure.transport.closed
        go.set()
        await client.until(lambda: not client.context.tasks)
        assert not secure.received

    play_fake(None, case)


def test_small_writes_leave_at_once(play_socket: Play) -> None:
    """asyncio switches Nagle's algorithm off only where the socket names its protocol; streams would go in steps."""

    async def case(client: Any) -> None:
        sock = client.protocol.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    play_socket(hello, case)
