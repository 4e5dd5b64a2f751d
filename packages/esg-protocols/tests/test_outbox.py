"""When bytes leave: at the end of the loop's turn, those of all connections in a row, and before every kind of end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Play = Callable[..., None]

KIB = 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HAS_EAGER_TASKS = sys.version_info >= (3, 12)
AGAIN_AND_AGAIN = 5
"""So many turns of the loop are more than enough, where one must do."""


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def read(*clients: Any) -> None:
    """Let the server read from clients in one turn of the loop, and their applications run in it or in the next one."""
    for client in clients:
        client.transport.receive(GET)
    if not HAS_EAGER_TASKS:
        await asyncio.sleep(0)


def answered(client: Any, times: int = 1) -> bool:
    return bytes(client.transport.written).count(b"\r\n\r\nhello") == times


def keep_writes(client: Any, order: list[Any], *, failing: Exception | None = None) -> None:
    """Note who writes, in ``order``; or let every write fail."""
    write = client.transport.write

    def noted(data: bytes) -> None:
        if failing is not None:
            raise failing
        order.append((client, bytes(data)))
        write(data)

    client.transport.write = noted
    client.protocol.connection_made(client.transport)  # which looks it up


def test_answers_leave_when_every_connection_was_read(play_fake: Play) -> None:
    """As one turn of the loop reads from all that have something, one behind the other."""

    async def case(client: Any) -> None:
        clients = [client, await client.another(), await client.another()]
        await read(*clients)
        assert not any(each.transport.written for each in clients)
        await asyncio.sleep(0)
        assert all(answered(each) for each in clients)

    play_fake(hello, case)


@pytest.mark.skipif(not HAS_EAGER_TASKS, reason="without eager tasks each has a turn of its own")
def test_answers_to_pipelined_requests_are_one_write(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        writes: list[Any] = []
        keep_writes(client, writes)
        client.transport.receive(GET * 3)
        await asyncio.sleep(0)
        assert len(writes) == 1
        assert answered(client, 3)

    play_fake(hello, case)


@pytest.mark.skipif(not HAS_EAGER_TASKS, reason="without eager tasks each has a turn of its own")
def test_what_is_large_leaves_at_once_behind_what_was_held_back(play_fake: Play) -> None:
    sizes = iter([5, 64 * KIB, 5])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = next(sizes)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": b"hello" if size == 5 else bytes(size)})

    async def case(client: Any) -> None:
        client.transport.receive(GET * 3)
        assert len(client.transport.written) > 64 * KIB
        assert answered(client)
        answers = await client.answers(["GET"] * 3)
        assert [len(answer.body) for answer in answers] == [5, 64 * KIB, 5]

    play_fake(app, case)


def test_what_is_held_back_is_bounded(play_fake: Play) -> None:
    """However much an application sends in a turn, at most 16 KiB of it wait for the turn's end."""
    seen: list[int] = []

    async def case(client: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            for _ in range(60):
                await send({"type": "websocket.send", "bytes": bytes(KIB)})
                seen.append(len(client.transport.written))

        client.app = app
        client.transport.receive(UPGRADE)
        await client.settle()

    play_fake(None, case)
    sent = [KIB * (number + 1) for number in range(60)]
    assert all(size - written <= 16 * KIB for size, written in zip(sent, seen, strict=True))
    assert len(set(seen)) < 6  # and not one write a message


def test_a_connection_that_cannot_be_written_to_keeps_nobody_waiting(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        error = RuntimeError("no")
        broken, last = await client.another(), await client.another()
        keep_writes(broken, [], failing=error)
        await read(client, broken, last)
        await asyncio.sleep(0)
        assert answered(client)
        assert answered(last)
        assert broken.transport.aborted
        (problem,) = client.wiring.problems
        client.wiring.problems.clear()
        assert problem["exception"] is error
        assert problem["protocol"] is broken.protocol

    play_fake(hello, case)


@pytest.mark.parametrize("end", ["receive_eof", "shutdown", "abort"])
def test_what_was_held_back_leaves_before_the_end(end: str, play_fake: Play) -> None:
    """In the turn of the request itself the client ends its side, the server stops, or an app drops the connection."""

    async def case(client: Any) -> None:
        await read(client)
        getattr(client.transport if end == "receive_eof" else client.protocol, end)()
        assert client.transport.closed
        assert answered(client)
        for _ in range(AGAIN_AND_AGAIN):
            await asyncio.sleep(0)
        assert answered(client)

    play_fake(hello, case)


def test_a_connection_that_is_lost_is_not_written_to(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        await read(client)
        client.transport.lose(ConnectionResetError())
        await client.settle()
        assert not client.transport.written

    play_fake(hello, case)


def test_an_answer_before_a_websocket(play: Play) -> None:
    """The transport changes hands in the very turn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await hello(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()

    async def case(client: Any) -> None:
        await client.send(GET + UPGRADE, more=True)
        assert (await client.answer()).body == b"hello"
        await client.until(lambda: client.ended or b"\r\n\r\n" in client.received)
        assert client.received.startswith(b"HTTP/1.1 101 ")

    play(app, case)


def test_an_answer_before_a_file(tmp_path: Path, play: Play) -> None:
    """Which the system sends past the transport."""
    content = bytes(range(256)) * 100
    (tmp_path / "file").write_bytes(content)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            return await hello(scope, receive, send)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    async def case(client: Any) -> None:
        await client.send(GET + GET.replace(b"/", b"/file", 1) + GET)
        bodies = [answer.body for answer in await client.answers(["GET"] * 3)]
        assert bodies == [b"hello", content, b"hello"]

    play(app, case)
