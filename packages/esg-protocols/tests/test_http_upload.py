"""Large bodies, which are read into objects of their own over uvloop: whatever happens, it is as with any body."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import ClientDisconnected

Play = Callable[..., None]

MIB = 1 << 20
LARGE = random.Random(1).randbytes(MIB)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
BODY = {"type": "http.response.body", "body": b"hello"}


def post(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *fields, b"", body])


async def body_of(receive: Any) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message["body"])
        more = message["more_body"]
    assert {type(part) for part in parts} == {bytes}
    return b"".join(parts)


class Bodies:
    """An app that answers when it has read a body, and keeps it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append(await body_of(receive))
        await send(START)
        await send(BODY)


def reads_directly(client: Any) -> bool:
    return hasattr(client.protocol.transport.get_protocol(), "get_buffer")


def is_uvloop(client: Any) -> bool:
    return type(client.protocol.transport).__module__ == "uvloop.loop"


@pytest.mark.parametrize("size", [0, 1, 131_071, 131_072, 262_143, 262_144, 262_145, MIB - 1, MIB])
def test_a_body_of_any_size(size: int, play_socket: Play) -> None:
    app = Bodies()

    async def case(client: Any) -> None:
        for _ in range(3):
            await client.send(post(LARGE[:size]))
            assert (await client.answer("POST")).status == 200
        assert app.bodies == [LARGE[:size]] * 3
        assert reads_directly(client) == (is_uvloop(client) and size >= 131_072)

    play_socket(app, case)


def test_large_and_small_ones_in_turn(play_socket: Play) -> None:
    app = Bodies()

    async def case(client: Any) -> None:
        for body in (LARGE, b"small", LARGE, LARGE, b"", b"small"):
            await client.send(post(body))
            assert (await client.answer("POST")).status == 200
        assert app.bodies == [LARGE, b"small", LARGE, LARGE, b"", b"small"]
        assert not reads_directly(client)

    play_socket(app, case)


def test_pipelined(play_socket: Play) -> None:
    app = Bodies()

    async def case(client: Any) -> None:
        await client.send(post(LARGE) + GET + post(LARGE) * 2 + post(b"small") + GET)
        await client.answers(["POST", "GET", "POST", "POST", "POST", "GET"])
        assert app.bodies == [LARGE, b"", LARGE, LARGE, b"small", b""]

    play_socket(app, case)


def test_the_messages_of_a_large_body_are_not_joined_or_cut(play_socket: Play) -> None:
    """No more than a read of the system holds, and all that it holds."""
    sizes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            more = message["more_body"]
        await send(START)
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(post(LARGE))
        await client.answer("POST")
        assert sum(sizes) == MIB
        assert max(sizes) <= 262_144

    play_socket(app, case)


def test_an_app_that_is_slow_stops_the_socket(play_socket: Play) -> None:
    got: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        first = await receive()
        await client_of["client"].until(lambda: not client_of["client"].is_reading(), "(the socket stopped)")
        got.extend([first["body"], await body_of(receive)])
        await send(START)
        await send(BODY)

    client_of: dict[str, Any] = {}

    async def case(client: Any) -> None:
        client_of["client"] = client
        for _ in range(2):
            got.clear()
            await client.send(post(LARGE))
            assert (await client.answer("POST")).status == 200
            assert b"".join(got) == LARGE
        assert client.is_reading()

    play_socket(app, case)


@pytest.mark.parametrize("how", ["leave", "send_eof"])
def test_a_client_that_ends_within_it(how: str, play_socket: Play) -> None:
    ends: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        ends.append(message["type"])
        with pytest.raises(ClientDisconnected):
            await send(START)

    async def case(client: Any) -> None:
        await client.send(post(LARGE)[:-1])
        await client.until(lambda: reads_directly(client) or not is_uvloop(client))
        await client.settle()
        await getattr(client, how)()
        await client.until(lambda: ends and not client.context.connections)
        assert ends == ["http.disconnect"]

    play_socket(app, case)


def test_a_body_that_stalls(play_socket: Play, judge: Any) -> None:
    async def case(client: Any) -> None:
        await client.send(post(LARGE)[:-1])
        await client.until(lambda: reads_directly(client) or not is_uvloop(client))
        await client.settle()
        client.clock.advance(100)
        assert (await client.answer("POST")).status == 408
        client.take_errors()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] == "http.request":
            pass

    play_socket(app, case)


def test_an_early_answer(play_socket: Play) -> None:
    """Up to a size the rest is thrown away and the connection goes on; beyond it, it ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)

    async def case(client: Any) -> None:
        for _ in range(2):
            await client.send(post(LARGE[:200_000]))
            await client.answer("POST")
        await client.send(GET)
        await client.answer()
        await client.send(post(LARGE))
        assert (await client.answer("POST")).status == 200
        await client.end()

    play_socket(app, case)


def test_an_idle_connection_reads_again(play_socket: Play) -> None:
    """What it would be read into is given back every second."""
    app = Bodies()

    async def case(client: Any) -> None:
        for _ in range(3):
            await client.send(post(LARGE))
            await client.answer("POST")
            await client.settle()
            client.clock.advance(1)
        assert app.bodies == [LARGE] * 3

    play_socket(app, case)
