"""What waits until the loop has read from every connection, and what does not: applications, and bytes that leave."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from esg_protocols.asgi.context import ServerContext
from esg_protocols.asgi.http import HTTPProtocol
from esg_protocols.settings import Settings
from esg_protocols.testing import FakeClock, FakeTransport

Play = Callable[..., None]

KIB = 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HAS_EAGER_TASKS = sys.version_info >= (3, 12)
eager = pytest.mark.skipif(not HAS_EAGER_TASKS, reason="without eager tasks each has a turn of its own")
LONGEST = 0.002
AGAIN_AND_AGAIN = 5
"""So many turns of the loop are more than enough, where one must do."""


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def read(*clients: Any) -> None:
    """Let the server read first requests in one turn of the loop; their applications run in it or in the next one."""
    for client in clients:
        client.transport.receive(GET)
    if not HAS_EAGER_TASKS:
        await asyncio.sleep(0)


def answered(client: Any, times: int = 1) -> bool:
    return bytes(client.transport.written).count(b"\r\n\r\nhello") == times


def text_frame(text: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


async def greet(*clients: Any) -> None:
    """Have each client's first request answered, and forgotten."""
    for client in clients:
        client.transport.receive(GET)
        await client.settle()
        assert client.transport.take()


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


@eager
def test_answers_to_pipelined_requests_are_one_write(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        writes: list[Any] = []
        keep_writes(client, writes)
        client.transport.receive(GET * 3)
        await asyncio.sleep(0)
        assert len(writes) == 1
        assert answered(client, 3)

    play_fake(hello, case)


@eager
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


# -- Applications run


@eager
def test_requests_start_when_every_connection_was_read(play_fake: Play) -> None:
    """And their answers leave in the same go."""
    begun: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        clients = [client, await client.another(), await client.another()]
        await greet(*clients)
        begun.clear()
        for number, each in enumerate(clients):
            each.transport.receive(GET.replace(b"/", b"/%d" % number, 1))
            assert not begun
        await asyncio.sleep(0)
        assert begun == ["/0", "/1", "/2"]
        assert all(answered(each) for each in clients)

    play_fake(app, case)


@eager
def test_answers_do_not_wait_long_for_slow_applications(play_fake: Play) -> None:
    before: list[list[bool]] = []

    async def case(client: Any) -> None:
        clients = [client, await client.another(), await client.another()]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            before.append([answered(each) for each in clients])
            time.sleep(2 * LONGEST)
            await hello(scope, receive, send)

        client.wiring.context.longest_round = LONGEST
        client.app = app
        await greet(*clients)
        before.clear()
        for each in clients:
            each.transport.receive(GET)
        await asyncio.sleep(0)
        assert before == [[False, False, False], [True, False, False], [True, True, False]]
        assert answered(clients[2])

    play_fake(None, case)


@eager
@pytest.mark.parametrize("kind", ["large", "more"])
def test_what_is_large_is_not_kept_waiting(kind: str, play_fake: Play) -> None:
    """A body in one read or in many of one turn: an application that does not read has the socket wait."""
    begun: list[Any] = []
    size = 256 * KIB

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["method"])
        if scope["method"] == "GET":
            return await hello(scope, receive, send)
        await asyncio.sleep(0)
        left = size
        while left:
            left -= len((await receive())["body"])
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await greet(client)
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
        if kind == "large":
            client.transport.receive(head + bytes(64 * KIB))
            sent = 64 * KIB
        else:
            client.transport.receive(head)
            sent = 0
            while client.transport.reading:
                client.transport.receive(bytes(KIB))
                sent += KIB
        assert not client.transport.reading
        assert sent <= 65 * KIB
        assert len(begun) == 2
        await client.settle()
        client.transport.receive(bytes(size - sent))
        await client.settle()
        assert answered(client)

    play_fake(app, case)


@eager
@pytest.mark.parametrize("end", ["eof", "eof in a body", "shutdown", "end_exchange", "refuse", "lose", "late"])
def test_a_request_that_waits_and_the_end(end: str, play_fake: Play) -> None:
    """In its turn the client ends its side, the server stops, what comes behind it is wrong, or time is up."""
    begun: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        await hello(scope, receive, send)

    async def case(client: Any) -> None:
        await greet(client)
        client.transport.receive(CHUNKED if end in ("refuse", "eof in a body") else GET)
        if end == "refuse":
            client.transport.receive(b"no chunk\r\n")
        elif end == "late":
            client.wiring.clock.advance(60)
        elif end == "lose":
            client.transport.lose()
        elif end in ("eof", "eof in a body"):
            client.transport.receive_eof()
        else:
            getattr(client.protocol, end)()
        await client.settle()
        written = client.transport.take()
        assert begun == ["/"] * (2 if end in ("eof", "eof in a body", "shutdown", "late") else 1)
        assert written.count(b"HTTP/1.1 ") == (end != "lose")
        assert (b"\r\nconnection: close\r\n" in written) == (end in ("shutdown", "end_exchange", "refuse"))
        assert (client.transport.closed or client.transport.eof_written) == (end != "late")
        status = {"end_exchange": b"503", "refuse": b"400", "lose": b""}.get(end, b"200")
        assert written[9:12] == status
        client.wiring.errors.clear()

    play_fake(app, case)


@eager
def test_a_websocket_that_is_asked_for_on_a_used_connection(play_fake: Play) -> None:
    """The client's end in the same turn reaches whom the transport belongs to."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            return await hello(scope, receive, send)
        seen.append(await receive())
        seen.append(await receive())

    async def case(client: Any) -> None:
        await greet(client)
        client.transport.receive(UPGRADE)
        client.transport.receive_eof()
        await client.settle()
        assert [message["type"] for message in seen] == ["websocket.connect", "websocket.disconnect"]

    play_fake(app, case)


def test_messages_are_handed_out_when_every_connection_was_read(play_fake: Play) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message["text"])
            await send({"type": "websocket.send", "text": message["text"]})

    async def case(client: Any) -> None:
        clients = [client, await client.another()]
        for each in clients:
            each.transport.receive(UPGRADE)
            await each.settle()
            each.transport.take()
        for number, each in enumerate(clients):
            each.transport.receive(text_frame(b"%d" % number))
        assert not seen
        await asyncio.sleep(0)
        assert seen == ["0", "1"]
        assert [each.transport.take() for each in clients] == [b"\x81\x010", b"\x81\x011"]

    play_fake(app, case)


@pytest.mark.parametrize("end", ["close", "receive_eof"])
def test_a_message_that_waits_and_the_end(end: str, play_fake: Play) -> None:
    """It is answered before the close frame that follows it in the same turn, and before the connection's end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    async def case(client: Any) -> None:
        client.transport.receive(UPGRADE)
        await client.settle()
        client.transport.take()

        def read() -> None:
            client.transport.receive(text_frame(b"hello"))
            if end == "close":
                client.transport.receive(b"\x88\x82\0\0\0\0\x03\xe8")
            else:
                client.transport.receive_eof()

        asyncio.get_running_loop().call_soon(read)  # not within a task
        await client.settle()
        assert client.transport.take().startswith(b"\x81\x05hello")
        assert client.transport.closed

    play_fake(app, case)


@eager
def test_an_application_that_ends_the_process_keeps_nobody_waiting() -> None:
    """If the loop goes on, as it does to clean up."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/exit":
            raise SystemExit
        await hello(scope, receive, send)

    loop = asyncio.new_event_loop()
    context = ServerContext(app, Settings(), loop=loop)
    clock = FakeClock(context)
    try:
        transports = [FakeTransport(HTTPProtocol(context)) for _ in range(3)]
        for transport in transports:
            transport.receive(GET)
        loop.run_until_complete(asyncio.sleep(0))
        assert all(transport.take() for transport in transports)
        for transport, path in zip(transports, [b"/", b"/exit", b"/"], strict=True):
            transport.receive(GET.replace(b"/", path, 1))
        with pytest.raises(SystemExit):
            loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        assert [b"hello" in transport.take() for transport in transports] == [True, False, True]
        for transport in transports:
            transport.lose()
        clock.advance(1)
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
