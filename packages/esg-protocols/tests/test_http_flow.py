"""Flow control both ways, and a body that nobody reads: nothing grows, nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import ClientDisconnected

Play = Callable[..., None]

KIB = 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
STREAM = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"hello"}
END = {"type": "http.response.body"}

MOST_HELD = KIB * KIB
"""More than the sockets and transports of both sides hold between them."""


def post(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size


def part(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def hello(send: Any) -> None:
    await send(START)
    await send(BODY)


async def read_body(receive: Any) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        more = message["more_body"]
    return bytes(body)


# -- An app that does not read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 * KIB, 64 * KIB])
def test_an_upload_stops_while_the_app_does_not_read(size: int, play_fake: Play) -> None:
    bodies = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            bodies.append(await read_body(receive))
            await hello(send)

        client.app = app
        await client.send(post(10 * size))
        for i in range(10):
            assert client.transport.reading == (i < 1)
            await client.send(b"x" * size)
            await client.settle()
        go.set()
        assert (await client.answer("POST")).status == 200
        assert bodies == [b"x" * 10 * size]
        assert client.transport.reading

    play_fake(None, case, settings={"read_buffer_size": size})


def test_a_large_upload_over_a_socket_waits_for_the_app(play_socket: Play) -> None:
    size = 2 * MOST_HELD
    pieces = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            while not pieces or pieces[-1]["more_body"]:
                pieces.append(await receive())
            await hello(send)

        client.app = app
        await client.send(post(size))
        await client.send(b"x" * size)
        await client.until(lambda: not client.is_reading())
        await client.settle()
        assert not client.is_reading()
        go.set()
        assert (await client.answer("POST")).status == 200
        assert sum(len(piece["body"]) for piece in pieces) == size
        # What was kept is the limit and at most one read beyond it.
        assert len(pieces[0]["body"]) <= 64 * KIB + 256 * KIB
        assert client.is_reading()

    play_socket(None, case)


def test_an_app_that_waits_for_the_bytes_does_not_stop_the_upload(play_fake: Play) -> None:
    """Stopping and starting the socket are system calls; what is about to be taken does not need them."""
    paused = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await hello(send)

    async def case(client: Any) -> None:
        client.transport.pause_reading = lambda: paused.append(True)
        await client.send(post(100 * KIB))
        for _ in range(10):
            await client.settle()
            await client.send(b"x" * 10 * KIB)
        assert (await client.answer("POST")).status == 200
        assert not paused

    play_fake(app, case, settings={"read_buffer_size": 1 * KIB})


def test_reading_goes_on_behind_a_body_that_stopped_it(play_fake: Play) -> None:
    """A whole large body in one read stops the socket; once it is taken the client must be heard again."""

    async def case(client: Any) -> None:
        taken = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0)
            await read_body(receive)
            taken.set()
            await receive()

        client.app = app
        await client.send(post(4 * KIB) + b"x" * 4 * KIB)
        assert not client.transport.reading
        await taken.wait()
        assert client.transport.reading

    play_fake(None, case, settings={"read_buffer_size": 1 * KIB})


def test_the_client_leaves_while_its_upload_is_stopped(play_steps: Play) -> None:
    messages: list[Any] = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            while not messages or messages[-1]["type"] != "http.disconnect":
                messages.append(await receive())

        client.app = app
        await client.send(post(1000 * KIB), more=True)
        await client.send(b"x" * 200 * KIB, more=True)
        await client.until(lambda: not client.is_reading())
        await client.leave()
        go.set()
        await client.until(lambda: not client.context.connections and not client.context.tasks)
        assert not [message for message in messages if not message.get("more_body", True)]

    play_steps(None, case)


# -- Requests behind a slow one --------------------------------------------------------------------------------------


def test_pipelined_requests_behind_a_slow_one_stop_the_socket(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await hello(send)

        client.app = app
        await client.send(GET)
        await client.send(GET)
        assert client.transport.reading  # or nobody would notice if the client left
        await client.send(GET)
        assert not client.transport.reading
        go.set()
        await client.answers(["GET"] * 3)
        assert client.transport.reading

    play_fake(None, case, settings={"read_buffer_size": 2 * len(GET) - 1})


def test_a_flood_of_requests_behind_a_slow_one_stays_with_the_client(play_socket: Play) -> None:
    count = (2 * MOST_HELD) // len(GET)

    async def case(client: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await receive()

        client.app = app
        await client.send(GET * count)
        await client.until(lambda: not client.is_reading())
        await client.settle()
        assert client._writer.transport.get_write_buffer_size() > 0
        assert client.context.counters.requests == 1

    play_socket(None, case)


# -- A client that does not read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 * KIB, 60 * KIB, 256 * KIB])
def test_an_app_waits_in_send_while_the_client_does_not_read(size: int, play_steps: Play) -> None:
    sent = 0
    count = (2 * MOST_HELD) // size

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(STREAM)
        while sent < count:
            sent += 1
            await send(part(b"x" * size))
        await send(END)

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.until(lambda: sent)
        before = 0
        while sent != before:
            before = sent
            await client.settle()
        assert sent < count
        client.read_again()
        answer = await client.answer()
        assert len(answer.body) == count * size

    play_steps(app, case)


def test_send_goes_on_when_the_client_reads_again(play_fake: Play) -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        for i in range(4):
            await send(part(b"x"))
            sent.append(i)
        await send(END)

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.settle()
        assert sent == []
        client.read_again()
        assert (await client.answer()).body == b"xxxx"

    play_fake(app, case)


def test_a_client_that_stops_reading_again_at_once(play_fake: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await send(part(b"x"))
        await send(END)

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.settle()
        client.read_again()
        client.stop_reading()
        await client.settle()
        assert not client.ended
        assert client.received.endswith(b"1\r\nx\r\n")
        client.read_again()
        assert (await client.answer()).body == b"x"

    play_fake(app, case)


@pytest.mark.parametrize(("settings", "mark"), [({}, 64 * KIB), ({"write_buffer_size": 12345}, 12345)])
def test_the_high_water_mark_is_that_of_the_settings(settings: dict[str, int], mark: int, play_steps: Play) -> None:
    async def case(client: Any) -> None:
        assert client.protocol.transport.get_write_buffer_limits()[1] == mark

    play_steps(lambda scope, receive, send: None, case, settings=settings)


@pytest.mark.parametrize("size", [1 * KIB, 60 * KIB, 256 * KIB])
def test_what_waits_for_a_client_that_does_not_read_is_bounded(size: int, play_socket: Play) -> None:
    """The mark, and what went beyond it: one part, or as many small ones as leave in one write, with their framing."""
    beyond = max(size, 64 * KIB) + KIB
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(STREAM)
        with pytest.raises(ClientDisconnected):
            while True:
                sent += 1
                await send(part(b"x" * size))

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.until(lambda: sent)
        before = 0
        while sent != before:
            before = sent
            await client.settle()
        assert 0 < client.protocol.transport.get_write_buffer_size() <= 64 * KIB + beyond
        await client.leave()
        await client.until(lambda: not client.context.tasks)

    play_socket(app, case)


def test_the_client_leaves_while_the_app_waits_in_send(play_steps: Play) -> None:
    outcome: list[Any] = []
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(STREAM)
        try:
            while True:
                sent += 1
                await send(part(b"x" * 60 * KIB))
        except OSError as error:
            outcome.append(error)
            outcome.append(await receive())
            raise

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        before = -1
        while sent != before:
            before = sent
            await client.settle()
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert isinstance(outcome[0], ClientDisconnected)
        assert outcome[1]["type"] in ("http.request", "http.disconnect")
        assert client.context.counters.app_errors == 0

    play_steps(app, case)


def test_a_send_that_waits_can_be_cancelled(play_fake: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send(part(b"one")), 0.001)
        task = asyncio.ensure_future(send(part(b"two")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await send({"type": "http.response.body", "body": b"three"})

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.until(lambda: client.ended or b"three" in client.received)
        client.read_again()
        assert (await client.answer()).body == b"onetwothree"
        await client.until(lambda: not client.context.tasks)

    play_fake(app, case)


def test_two_sends_wait_at_once(play_fake: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await asyncio.gather(send(part(b"one")), send(part(b"two")))
        await send(END)

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        await client.settle()
        client.read_again()
        assert (await client.answer()).body == b"onetwo"

    play_fake(app, case)


@pytest.mark.parametrize("request_bytes", [GET, CLOSE], ids=["keep-alive", "close"])
@pytest.mark.parametrize("size", [60 * KIB, 300 * KIB])
def test_the_last_send_is_no_error_when_the_response_got_through(
    request_bytes: bytes, size: int, play_steps: Play
) -> None:
    """The connection may be over as soon as the last byte is; the app has done all it should."""
    outcome: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % (12 * size))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(11):
            await send(part(b"x" * size))
        await send({"type": "http.response.body", "body": b"x" * size})
        outcome.append("sent")

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(request_bytes)
        await client.settle()
        client.read_again()
        assert len((await client.answer()).body) == 12 * size
        await client.until(lambda: not client.context.tasks)
        assert outcome == ["sent"]
        assert client.context.counters.app_errors == 0

    play_steps(app, case)


@pytest.mark.parametrize("request_bytes", [GET, CLOSE], ids=["keep-alive", "close"])
def test_the_last_send_while_the_client_does_not_read(request_bytes: bytes, play_fake: Play) -> None:
    outcome: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)
        outcome.append("sent")

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(request_bytes)
        assert (await client.answer()).body == b"hello"
        await client.settle()
        if not client.ended:
            client.read_again()
        await client.until(lambda: outcome)
        await client.until(lambda: not client.context.tasks)
        assert client.context.counters.app_errors == 0

    play_fake(app, case)


def test_the_client_leaves_behind_a_last_send_that_waits(play_fake: Play) -> None:
    """The response was complete: that its client leaves then is no error of the app."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET)
        assert (await client.answer()).body == b"hello"
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert client.context.counters.app_errors == 0

    play_fake(app, case)


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
def test_pipelined_requests_of_a_client_that_does_not_read(wait: bool, play_fake: Play) -> None:
    """Each response is small, but there is no end to them: the next request waits until the last answer is out."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if wait:
            await asyncio.sleep(0)
        await hello(send)

    async def case(client: Any) -> None:
        client.stop_reading()
        for _ in range(20):
            await client.send(GET * 10)
            await client.settle()
        assert client.context.counters.requests <= 20
        assert not client.transport.reading
        client.read_again()
        answers = await client.answers(["GET"] * 200)
        assert {answer.body for answer in answers} == {b"hello"}
        assert client.transport.reading

    play_fake(app, case, settings={"read_buffer_size": len(GET)})


def test_apps_do_not_pile_up_behind_a_client_that_reads_slowly(play_fake: Play) -> None:
    """A last send that has waited once need not wait for the responses behind it too."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(GET)
        client.stop_reading()
        await client.send(GET * 30)
        for _ in range(10):
            await client.settle()
            assert len(client.context.tasks) <= 2
            client.read_again()
            client.stop_reading()
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert client.context.counters.app_errors == 0

    play_fake(app, case)


def test_a_flood_of_requests_from_a_client_that_does_not_read(play_socket: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"10000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 10_000})

    async def case(client: Any) -> None:
        client.stop_reading()
        await client.send(GET * 3000)
        before = -1
        while client.context.counters.requests != before:
            before = client.context.counters.requests
            await client.settle()
        assert client.protocol.transport.get_write_buffer_size() < MOST_HELD

    play_socket(app, case)


# -- An answer before the body is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("read", [False, True], ids=["unread", "begun"])
def test_the_rest_of_a_small_body_is_thrown_away(chunked: bool, read: bool, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if read and scope["method"] == "POST":
            assert (await receive())["more_body"]
        await hello(send)

    async def case(client: Any) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\n"
        if chunked:
            await client.send(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", more=True)
        else:
            await client.send(head + b"Content-Length: 10005\r\n\r\nhello", more=True)
        assert (await client.answer("POST")).body == b"hello"
        # What looks like a request is the body.
        body = (GET * 400)[:10_000]
        await client.send(body[:5000] if not chunked else b"1388\r\n" + body[:5000] + b"\r\n", more=True)
        await client.settle()
        await client.send(body[5000:] if not chunked else b"1388\r\n" + body[5000:] + b"\r\n0\r\n\r\n", more=True)
        await client.send(GET)
        assert (await client.answer()).body == b"hello"
        assert client.context.counters.requests == 2
        await client.nothing_more()

    play_steps(app, case)


def test_the_rest_of_a_large_body_costs_the_connection(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(post(10_000 * KIB), more=True)
        assert (await client.answer("POST")).body == b"hello"
        for _ in range(100):
            await client.send(b"x" * 10 * KIB, more=True)
            await client.settle()
        assert await client.end() == b""
        assert client.context.counters.requests == 1

    play_steps(app, case)


def test_an_answer_behind_what_had_stopped_the_upload(play_fake: Play) -> None:
    """Bytes that were kept for the app are let go with the answer, and the socket is read again."""

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await hello(send)

        client.app = app
        await client.send(post(3 * KIB))
        await client.send(b"x" * 2 * KIB)
        assert not client.transport.reading
        go.set()
        assert (await client.answer("POST")).body == b"hello"
        assert client.transport.reading
        await client.send(b"x" * KIB + GET)
        assert (await client.answer()).body == b"hello"

    play_fake(None, case, settings={"read_buffer_size": 1 * KIB})


def test_a_body_that_never_ends_behind_its_answer(play_fake: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(post(100))
        await client.answer("POST")
        for _ in range(20):
            await client.send(b"x")
            client.clock.advance(1)
        assert await client.end() == b""

    play_fake(app, case)


def test_a_bad_rest_of_a_body_behind_its_answer(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", more=True)
        assert (await client.answer("POST")).body == b"hello"
        await client.send(b"nonsense\r\n")
        assert await client.end() == b""
        assert len(client.take_errors()) == 1

    play_steps(app, case)


# -- Small parts -------------------------------------------------------------------------------------------------------


def test_what_one_turn_sends_leaves_together(play_fake: Play) -> None:
    """A write is a system call: not one for each small part, but nothing waits for the app's next step either."""
    seen: list[int] = []

    async def case(client: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(STREAM)
            for _ in range(3):
                await send(part(b"abc"))
                seen.append(client.transport.written.count(b"abc"))
            for _ in range(2):
                await asyncio.sleep(0)
                seen.append(client.transport.written.count(b"abc"))
                await send(part(b"abc"))
            await send(END)
            seen.append(client.transport.written.count(b"abc"))

        client.app = app
        await client.send(GET)
        await client.settle()
        assert seen == [0, 0, 0, 3, 4, 4]
        assert (await client.answer()).body == b"abc" * 5

    play_fake(None, case)


def test_what_another_task_sends_leaves_in_the_loops_next_turn(play_fake: Play) -> None:
    seen: list[int] = []

    async def case(client: Any) -> None:
        async def produce(send: Any) -> None:
            for _ in range(3):
                await send(part(b"abc"))
                seen.append(client.transport.written.count(b"abc"))
            await asyncio.sleep(0)
            seen.append(client.transport.written.count(b"abc"))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(STREAM)
            await asyncio.create_task(produce(send))
            await send(END)

        client.app = app
        await client.send(GET)
        await client.settle()
        assert seen == [0, 0, 0, 3]
        assert (await client.answer()).body == b"abc" * 3

    play_fake(None, case)


@pytest.mark.parametrize("length", [b"300000", None], ids=["length", "chunked"])
def test_parts_of_every_size_together(length: bytes | None, play: Play) -> None:
    sizes = [1, 16384, 16385, 1, 65535, 65537, 0, 100_000, 2]
    sizes.append(300_000 - sum(sizes))
    start = {**STREAM, "headers": [(b"content-length", length)] if length else []}
    content = [bytes([65 + i]) * size for i, size in enumerate(sizes)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        for data in content:
            await send(part(data))
        await send(END)

    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        assert (await client.answer()).body == b"".join(content)
        await client.send(GET)
        assert (await client.answer()).body == b"".join(content)

    play(app, case)


def test_a_thousand_small_reads_and_large_ones_are_taken_together(play_fake: Play) -> None:
    """Up to 64 KiB in one message; none is lost, and none is copied again and again."""
    reads = [b"a"] * 1000 + [b"b" * 70_000] + [b"c" * 100] * 1000 + [b"d" * 1000]
    sizes: list[int] = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message["body"], message["more_body"]
                sizes.append(len(message["body"]))
            assert body == b"".join(reads)
            await hello(send)

        client.app = app
        await client.send(post(sum(map(len, reads))))
        for data in reads:
            client.protocol.data_received(data)
        go.set()
        assert (await client.answer("POST")).status == 200
        assert sizes == [1000, 70_000, 65_500, 35_500]

    play_fake(None, case)


def test_receive_is_awaited_once(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = receive()
        await message
        with pytest.raises(RuntimeError, match="already awaited"):
            await message
        await hello(send)

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"hello"

    play_steps(app, case)
