"""Limits of time and number on a connection: who passes one gets the right answer, and nobody else is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import ClientDisconnected

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}
STREAM = {"type": "http.response.start", "status": 200}


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


class Reading:
    """Reads all it gets, answers, and keeps what it was told."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.messages.append(await receive())
        while self.messages[-1].get("more_body"):
            self.messages.append(await receive())
        if self.messages[-1]["type"] == "http.request":
            await answering(scope, receive, send)


class Held:
    """Answers when it is let to."""

    def __init__(self, *, start: bool = False) -> None:
        self.start = start
        self.go = asyncio.Event()
        self.runs = self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        try:
            if self.start:
                await send(STREAM)
                await send({**BODY, "more_body": True})
            await self.go.wait()
            await answering(scope, receive, send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def passed(client: Any, limit: str, counter: str) -> None:
    """One line says which limit it was, and it was counted once."""
    (record,) = client.take_errors()
    assert f"({limit} is " in record.getMessage()
    assert getattr(client.context.counters, counter) == 1


async def answered(client: Any, status: int) -> Any:
    answer = await client.answer()
    assert (answer.status, answer.header(b"connection")) == (status, b"close")
    assert await client.end() == b""
    return answer


# -- A head ----------------------------------------------------------------------------------------------------------


def test_a_silent_new_connection_is_closed_without_a_word(play: Play) -> None:
    async def case(client: Any) -> None:
        client.clock.advance(30)
        await client.settle()
        assert not client.ended
        client.clock.advance(1)
        assert await client.end() == b""
        passed(client, "timeout_request_head", "head_timeouts")

    play(answering, case)


def test_a_head_that_dribbles(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        client.clock.advance(10)
        for i in range(31):
            await client.send(GET[i : i + 1] if i < 20 else b"", more=True)
            assert not client.ended
            client.clock.advance(1)
        await answered(client, 408)
        passed(client, "timeout_request_head", "head_timeouts")
        assert client.context.counters.protocol_errors == 0

    play_fake(answering, case)


@pytest.mark.parametrize("together", [False, True])
def test_a_head_that_begins_behind_a_request(together: bool, play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET + GET[:9] * together, more=True)
        assert (await client.answer()).status == 200
        if not together:
            client.clock.advance(4)
            await client.send(GET[:9], more=True)
            await client.settle()
        await client.settle()
        client.clock.advance(29)
        await client.settle()
        assert not client.ended
        client.clock.advance(2)
        await answered(client, 408)
        passed(client, "timeout_request_head", "head_timeouts")

    play(answering, case)


def test_an_idle_connection_is_closed_without_a_word(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.answer()
        client.clock.advance(6)
        assert await client.end() == b""
        assert client.context.counters.keep_alive_timeouts == 1

    play(answering, case)


def test_no_limit_for_heads(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET[:9], more=True)
        await client.settle()
        client.clock.advance(1000)
        await client.send(GET[9:], more=True)
        assert (await client.answer()).status == 200

    play(answering, case, settings={"timeout_request_head": 0})


# -- A body ----------------------------------------------------------------------------------------------------------


def test_a_body_that_stalls(play: Play) -> None:
    app = Reading()

    async def case(client: Any) -> None:
        await client.send(POST + b"some", more=True)
        await client.until(lambda: app.messages)
        await client.settle()
        client.clock.advance(30)
        await client.settle()
        assert not client.ended
        client.clock.advance(1)
        await answered(client, 408)
        await client.until(lambda: app.messages[-1] == {"type": "http.disconnect"})
        passed(client, "timeout_request_body", "body_timeouts")

    play(app, case)


@pytest.mark.parametrize(("size", "stays"), [(1, False), (100, False), (250, True), (1000, True)])
def test_the_rate_of_a_body(size: int, stays: bool, play_fake: Play) -> None:
    app = Reading()

    async def case(client: Any) -> None:
        await client.send(POST, more=True)
        for _ in range(90):
            await client.send(b"x" * size, more=True)
            await client.settle()
            client.clock.advance(1)
            if client.ended:
                break
        assert client.ended is not stays
        if not stays:
            await answered(client, 408)
            passed(client, "timeout_request_body", "body_timeouts")

    play_fake(app, case)


def test_any_rate(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(POST, more=True)
        for _ in range(10):
            await client.send(b"x", more=True)
            await client.settle()
            client.clock.advance(29)
        assert not client.ended

    play_fake(Reading(), case, settings={"minimum_rate": 0})


def test_the_apps_own_slowness_is_not_the_clients(play: Play) -> None:
    app = Held()

    async def case(client: Any) -> None:
        await client.send(POST + b"x" * 80000, more=True)
        await client.until(lambda: not client.is_reading())
        client.clock.advance(1000)
        await client.settle()
        assert not client.ended
        app.go.set()
        assert (await client.answer("POST")).status == 200

    play(app, case)


def test_a_client_that_waits_for_100_is_not_late(play: Play) -> None:
    release = asyncio.Event()
    app = Reading()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await app(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(POST.replace(b"Host", b"Expect: 100-continue\r\nHost"), more=True)
        await client.settle()
        client.clock.advance(1000)
        await client.settle()
        assert not client.ended
        release.set()
        await client.until(lambda: b"100 Continue" in client.received or client.ended)
        client.received.clear()
        client.clock.advance(31)
        await answered(client, 408)
        passed(client, "timeout_request_body", "body_timeouts")

    play(late, case)


# -- A body's size ---------------------------------------------------------------------------------------------------


def test_a_body_that_is_announced_too_large_reaches_no_app(play: Play) -> None:
    app = Held()

    async def case(client: Any) -> None:
        await client.send(POST, more=True)
        await answered(client, 413)
        assert app.runs == 0
        (record,) = client.take_errors()
        assert "a body of more than 99999 bytes" in record.getMessage()

    play(app, case, settings={"limit_request_body": 99999})


def test_a_body_that_becomes_too_large(play: Play) -> None:
    app = Reading()

    async def case(client: Any) -> None:
        await client.send(CHUNKED + b"6\r\nfirst,\r\n", more=True)
        await client.until(lambda: app.messages)
        await client.send(b"5\r\nthen \r\n", more=True)
        await answered(client, 413)
        await client.until(lambda: app.messages[-1] == {"type": "http.disconnect"})
        client.take_errors()

    play(app, case, settings={"limit_request_body": 10})


def test_a_body_as_large_as_it_may_be(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(CHUNKED + b"5\r\nfirst\r\n5\r\nthen \r\n0\r\n\r\n", more=True)
        assert (await client.answer("POST")).status == 200

    play(Reading(), case, settings={"limit_request_body": 10})


# -- A client that does not read -------------------------------------------------------------------------------------


class Streaming:
    def __init__(self) -> None:
        self.error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(STREAM)
            while True:
                await send({"type": "http.response.body", "body": b"x" * 60000, "more_body": True})
        except OSError as error:
            self.error = error
            raise


def test_a_response_that_is_not_read(play: Play) -> None:
    app = Streaming()

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET, more=True)
        await client.until(lambda: client.protocol.transport.get_write_buffer_size() > 1 << 16)
        client.clock.advance(31)
        await client.until(lambda: isinstance(app.error, ClientDisconnected))
        await client.until(lambda: not client.context.connections)
        passed(client, "timeout_write", "write_timeouts")

    play(app, case)


@pytest.mark.parametrize(("taken", "stays"), [(0, False), (100, False), (300, True)])
def test_the_rate_of_a_reader(taken: int, stays: bool, play_fake: Play) -> None:
    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET, more=True)
        await client.settle()
        for _ in range(60):
            client.transport.unwritten -= taken
            client.clock.advance(1)
            await client.settle()
        assert client.ended is not stays
        client.take_errors()

    play_fake(Streaming(), case)


def test_a_last_response_that_is_not_read(play_fake: Play) -> None:
    """The transport would wait for ever to be rid of it."""

    async def case(client: Any) -> None:
        client.stop_reading()
        client.transport.close = lambda: None
        await client.send(GET.replace(b"Host", b"Connection: close\r\nHost"), more=True)
        await client.settle()
        client.clock.advance(31)
        assert client.transport.aborted
        passed(client, "timeout_write", "write_timeouts")

    play_fake(answering, case)


# -- A request as a whole --------------------------------------------------------------------------------------------


def test_a_request_that_takes_too_long(play: Play) -> None:
    app = Held()

    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.until(lambda: app.runs)
        client.clock.advance(20)
        await client.settle()
        assert not client.ended
        client.clock.advance(1)
        assert (await answered(client, 503)).header(b"retry-after") == b"1"
        await client.until(lambda: not client.context.tasks)
        assert app.cancelled == 1
        passed(client, "timeout_request", "request_timeouts")

    play(app, case, settings={"timeout_request": 20})


def test_a_response_that_takes_too_long(play: Play) -> None:
    app = Held(start=True)

    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.until(lambda: app.runs)
        client.clock.advance(21)
        assert (await client.end()).endswith(b"\r\n2\r\nok\r\n")
        await client.until(lambda: app.cancelled)
        passed(client, "timeout_request", "request_timeouts")

    play(app, case, settings={"timeout_request": 20})


def test_what_goes_on_behind_a_response_may_take_long(play: Play) -> None:
    app = Held()

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await answering(scope, receive, send)
        await app.go.wait()

    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.answer()
        client.clock.advance(4)
        await client.send(GET, more=True)
        await client.answer()
        assert len(client.context.tasks) == 2
        client.clock.advance(3)
        await client.settle()
        assert len(client.context.tasks) == 2
        app.go.set()

    play(behind, case, settings={"timeout_request": 5})


# -- Numbers ---------------------------------------------------------------------------------------------------------


def test_more_requests_than_can_be_worked_on(play: Play) -> None:
    app = Held()

    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        await client.until(lambda: app.runs == 1)
        second = await client.another()
        await second.send(GET, more=True)
        await client.until(lambda: app.runs == 2)
        third = await client.another()
        await third.send(GET, more=True)
        assert (await answered(third, 503)).header(b"retry-after") == b"1"
        passed(client, "limit_concurrency", "overloads")
        app.go.set()
        assert (await client.answer()).status == 200
        assert (await second.answer()).status == 200
        assert app.runs == 2

    play(app, case, settings={"limit_concurrency": 2})


def test_the_last_request_of_a_connection(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET * 2, more=True)
        for answer in await client.answers(["GET", "GET"]):
            assert answer.header(b"connection") is None
        await client.send(GET + GET, more=True)
        await answered(client, 200)
        assert client.context.counters.requests == 3
        assert client.context.counters.connection_limits == 1
        (record,) = client.take_errors()
        assert record.levelname == "DEBUG"
        assert record.getMessage().endswith("(limit_requests_per_connection is 3)")

    play(answering, case, settings={"limit_requests_per_connection": 3})


@pytest.mark.parametrize(
    ("request_bytes", "counter", "limit"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300 + b"\r\n\r\n", "head_limits", "300 bytes"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n", "head_limits", "2 header fields"),
        (b"GET /" + b"x" * 20 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "target_limits", "16 bytes"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", "body_limits", "10 bytes"),
        (CHUNKED + b"b\r\n", "body_limits", "10 bytes"),
    ],
)
def test_every_limit_of_size_is_counted_and_told(
    request_bytes: bytes, counter: str, limit: str, play_steps: Play
) -> None:
    sizes = {"limit_head_size": 300, "limit_header_count": 2, "limit_target_size": 16, "limit_request_body": 10}

    async def case(client: Any) -> None:
        await client.send(request_bytes + b"x" * 11 if request_bytes.startswith(CHUNKED) else request_bytes)
        assert (await client.answer("POST")).header(b"connection") == b"close"
        counters = client.context.counters
        names = ("head_limits", "target_limits", "body_limits")
        assert {name: getattr(counters, name) for name in names} == {name: int(name == counter) for name in names}
        assert counters.protocol_errors == 1
        (record,) = client.take_errors()
        assert "127.0.0.1" in record.getMessage()
        assert limit in record.getMessage()

    play_steps(Reading(), case, settings=sizes)


def test_a_number_of_requests_is_told(play: Play) -> None:
    told = []

    async def case(client: Any) -> None:
        client.context.requests_wanted = 2
        client.context.on_requests = lambda: told.append(client.context.counters.requests)
        for _ in range(3):
            await client.send(GET, more=True)
            await client.answer()
        assert told == [2]

    play(answering, case)
