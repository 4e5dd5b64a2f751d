"""The handler of examples/transports over all of its transports; tests-integration runs them as programs."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from esg_protocols.settings import Settings

# The package may stand alone, as its sdist does.
pytest.importorskip("examples.transports")
blocking, conversation, handler, lists, over_trio = (
    pytest.importorskip(f"examples.transports.{name}")
    for name in ("blocking", "conversation", "handler", "lists", "over_trio")
)

PATIENCE = 20.0
"""Seconds after which what does not come has failed; nothing waits so long where all is well."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost: a\r\nwhat is this\r\n\r\n"
ECHO = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
UPLOAD = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
HELLO = (200, b"Hello, world!\n")
COUNT = (200, b"one\ntwo\nthree\n")

END_OF_INPUT = b""
Steps = list[Any]  # bytes to send, END_OF_INPUT, or a str: what must have come before the next step
Play = Callable[..., bytes]


def request(method: str, path: str, version: str = "1.1", *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


@pytest.fixture(autouse=True)
def _a_slow_machine_is_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in (blocking, over_trio):
        monkeypatch.setattr(driver, "LINGER_SECONDS", PATIENCE)


# -- The transports --------------------------------------------------------------------------------------------------


def over_lists(steps: Steps, handle: Any = handler.handle, settings: Settings = handler.SETTINGS) -> bytes:
    reads = [step for step in steps if isinstance(step, bytes)]
    writes, is_over = lists.serve(reads, handle, settings)
    assert is_over
    assert all(writes)
    return b"".join(writes)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.settimeout(PATIENCE)
    return client, server


def read_from(client: socket.socket, received: bytearray) -> bool:
    data = client.recv(65536)
    received += data
    return bool(data)


def over_socket(client: socket.socket, steps: Steps) -> bytes:
    """What the client gets while it takes these steps, and then up to the end."""
    received = bytearray()
    for step in steps:
        if isinstance(step, str):
            while step.encode() not in received:
                assert read_from(client, received), received
        elif step:
            client.sendall(step)
        else:
            client.shutdown(socket.SHUT_WR)
    while read_from(client, received):
        pass
    return bytes(received)


def over_blocking(steps: Steps, handle: Any = handler.handle, settings: Settings = handler.SETTINGS) -> bytes:
    client, server = tcp_pair()
    thread = threading.Thread(target=blocking.serve, args=(server, handle, settings))
    thread.start()
    try:
        with client:
            return over_socket(client, steps)
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def over_stream(client: Any, steps: Steps) -> bytes:
    """As :func:`over_socket`. The streams pass on each piece as it was sent, in their own time."""
    received = bytearray()

    async def read_all() -> None:
        async for data in client:
            received.extend(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all)
        for step in steps:
            if isinstance(step, str):
                await trio.testing.wait_all_tasks_blocked()
                assert step.encode() in received
            elif step:
                await client.send_all(step)
            else:
                await client.send_eof()
    return bytes(received)


def over_trio_streams(
    steps: Steps, handle: Any = handler.handle, settings: Settings = handler.SETTINGS, **options: Any
) -> bytes:
    async def story() -> bytes:
        client, server = trio.testing.lockstep_stream_pair()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(over_trio.serve, server, handle, settings)
                async with client:
                    return await over_stream(client, steps)
        raise AssertionError("not reached")

    return trio.run(story, **options)


TRANSPORTS = {"lists": over_lists, "blocking": over_blocking, "trio": over_trio_streams}


@pytest.fixture(params=TRANSPORTS)
def play(request: pytest.FixtureRequest) -> Play:
    """Take steps against the handler, over each transport; returns all that comes until the server has closed."""
    return TRANSPORTS[request.param]


@pytest.fixture(params=["whole", "bytes"])
def cut(request: pytest.FixtureRequest) -> Callable[[bytes], Steps]:
    """What is sent in one piece, or byte by byte."""
    if request.param == "whole":
        return lambda data: [data] if data else []
    return lambda data: [data[i : i + 1] for i in range(len(data))]


# -- One suite for all of them ---------------------------------------------------------------------------------------


class Case(NamedTuple):
    """What a client sends, and the answers to it."""

    sent: bytes
    answers: list[tuple[int, bytes]]
    methods: str = "GET"  # with the last of them standing for all that follow


# The client ends its input, and the server has until then waited for more.
KEPT = {
    "nothing": Case(b"", []),
    "get": Case(GET, [HELLO]),
    "head": Case(request("HEAD", "/"), [(200, b"")], "HEAD"),
    "head of a stream, then get": Case(request("HEAD", "/count") + GET, [(200, b""), HELLO], "HEAD GET"),
    "stream": Case(request("GET", "/count"), [COUNT]),
    "not found": Case(request("GET", "/nowhere"), [(404, b"nothing here\n")]),
    "method": Case(request("DELETE", "/"), [(405, b"no such method here\n")], "DELETE"),
    "post": Case(ECHO + b"text", [(200, b"text")], "POST"),
    "post nothing": Case(request("POST", "/echo"), [(200, b"")], "POST"),
    "upload": Case(UPLOAD + b"2\r\nte\r\n2\r\nxt\r\n0\r\nSum: 4\r\n\r\n", [(200, b"text")], "POST"),
    "keep-alive": Case(request("GET", "/", "1.0", "Connection: keep-alive") + GET, [HELLO, HELLO]),
    "pipelined": Case(
        GET + ECHO + b"text" + request("HEAD", "/") + UPLOAD + b"1\r\n-\r\n0\r\n\r\n" + request("GET", "/count") + GET,
        [HELLO, (200, b"text"), (200, b""), (200, b"-"), COUNT, HELLO],
        "GET POST HEAD POST GET",
    ),
    "1000 pipelined": Case(GET * 1000, [HELLO] * 1000),
    "expect, without waiting": Case(EXPECT + b"text" + GET, [(200, b"text"), HELLO], "POST GET"),
    "upgrade": Case(request("GET", "/", "1.1", "Connection: upgrade", "Upgrade: websocket") + GET, [HELLO, HELLO]),
    "connect": Case(  # refused, so to the judge it is as good as any method
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + GET, [(405, b"no such method here\n"), HELLO], "POST GET"
    ),
    "end in a head": Case(GET + GET[:-2], [HELLO]),
    "end in a body": Case(GET + ECHO + b"tex", [HELLO]),
    "end in a chunk": Case(GET + UPLOAD + b"5\r\ntext", [HELLO]),
    "end before the last chunk": Case(GET + UPLOAD + b"4\r\ntext\r\n", [HELLO]),
}

# The server ends the connection by itself.
CLOSED = {
    "close": Case(request("GET", "/", "1.1", "Connection: close"), [HELLO]),
    "close with a body": Case(request("POST", "/echo", "1.1", "Connection: close", "Content-Length: 4") + b"text",
                              [(200, b"text")], "POST"),
    "1.0": Case(request("GET", "/", "1.0"), [HELLO]),
    "1.0 with a body": Case(request("POST", "/echo", "1.0", "Content-Length: 4") + b"text", [(200, b"text")], "POST"),
    "1.0 stream": Case(request("GET", "/count", "1.0", "Connection: keep-alive"), [COUNT]),
    "close, and more": Case(request("GET", "/", "1.1", "Connection: close") + GET + b"!", [HELLO]),
    "bad": Case(BAD, [(400, b"Bad Request")]),
    "good, then bad": Case(GET + BAD, [HELLO, (400, b"Bad Request")]),
    "no host": Case(b"GET / HTTP/1.1\r\n\r\n", [(400, b"Bad Request")]),
    "version": Case(request("GET", "/", "9.9"), [(505, b"HTTP Version Not Supported")]),
    "two lengths": Case(
        request("POST", "/echo", "1.1", "Content-Length: 1", "Content-Length: 2") + b"!", [(400, b"Bad Request")]
    ),
    "bad chunk": Case(UPLOAD + b"1\r\n-\r\nx\r\n", [(400, b"Bad Request")], "POST"),
}  # fmt: skip


def check(judge: Any, received: bytes, case: Case, *, eof: bool = False) -> None:
    methods = itertools.chain(case.methods.split(), itertools.repeat(case.methods.split()[-1]))
    answers, rest = judge(received, list(itertools.islice(methods, len(case.answers))), eof=eof)
    assert rest == b""
    for answer, (status, body) in zip(answers, case.answers, strict=True):
        assert (answer.status, answer.body) == (status, body)
        assert answer.informational in ((), (100,))


@pytest.mark.parametrize("name", KEPT)
def test_the_connection_is_kept(name: str, play: Play, cut: Any, judge: Any) -> None:
    case = KEPT[name]
    check(judge, play([*cut(case.sent), END_OF_INPUT]), case)


@pytest.mark.parametrize("name", CLOSED)
def test_the_connection_is_closed(name: str, play: Play, cut: Any, judge: Any) -> None:
    case = CLOSED[name]
    received = play(cut(case.sent))
    check(judge, received, case, eof=True)
    assert received.count(b"\r\nconnection: close\r\n") == 1


@pytest.mark.parametrize(
    ("limits", "sent", "status"),
    [
        ({"limit_head_size": 300}, request("GET", "/", "1.1", "X: " + "x" * 300), 431),
        ({"limit_header_count": 2}, request("GET", "/", "1.1", "X: x", "Y: y"), 431),
        ({"limit_target_size": 16}, request("GET", "/" + 16 * "x"), 414),
        ({"limit_request_body": 3}, ECHO, 413),
        ({"limit_request_body": 3}, UPLOAD + b"4\r\ntext", 413),
    ],
    ids=["head", "fields", "target", "body", "upload"],
)
def test_limits(limits: dict[str, int], sent: bytes, status: int, play: Play, cut: Any, judge: Any) -> None:
    (answer,), rest = judge(play(cut(sent), settings=Settings(**limits)), ["GET"])
    assert (answer.status, answer.header(b"connection"), rest) == (status, b"close", b"")


def test_the_body_is_asked_for_once(play: Play, judge: Any) -> None:
    steps = [EXPECT, "100 Continue", b"te", b"xt", GET, END_OF_INPUT]
    answers, rest = judge(play(steps), ["POST", "GET"])
    assert [(answer.informational, answer.body) for answer in answers] == [((100,), b"text"), ((), HELLO[1])]
    assert rest == b""


def test_the_body_of_a_large_request_is_not_asked_for(play: Play, judge: Any) -> None:
    steps = [request("POST", "/echo", "1.1", "Content-Length: 2000000", "Expect: 100-continue")]
    (answer,), rest = judge(play(steps), ["POST"])
    assert (answer.status, answer.informational, rest) == (413, (), b"")


def test_a_large_body_goes_both_ways(play: Play, judge: Any) -> None:
    body = bytes(range(256)) * 4096
    (answer,), _ = judge(play([request("POST", "/echo", "1.1", f"Content-Length: {len(body)}"), body, b""]), ["POST"])
    assert answer.body == body


@pytest.mark.parametrize("name", ["blocking", "trio"])
def test_with_a_clock_there_is_a_date(name: str, judge: Any) -> None:
    answers, _ = judge(TRANSPORTS[name]([GET + BAD]), ["GET", "GET"])
    assert all(answer.header(b"date").endswith(b" GMT") for answer in answers)


def test_without_a_clock_there_is_none(judge: Any) -> None:
    (answer,), _ = judge(over_lists([GET, b""]), ["GET"])
    assert answer.header(b"date") is None


# -- Handlers that fail ----------------------------------------------------------------------------------------------


def fails(request: Any, body: bytes) -> Any:
    raise LookupError("a mistake")


def splits_a_header(request: Any, body: bytes) -> Any:
    return handler.Response(200, [(b"x", b"a\r\nb: c")], [b""])


def fails_half_way(request: Any, body: bytes) -> Any:
    def parts() -> Iterator[bytes]:
        yield b"some"
        raise LookupError("a mistake")

    return handler.Response(200, [], parts())


def says_too_much(request: Any, body: bytes) -> Any:
    return handler.Response(200, [(b"content-length", b"5")], [b"some", b"thing"])


@pytest.mark.parametrize("handle", [fails, splits_a_header])
def test_a_handler_that_fails(handle: Any, play: Play, judge: Any, caplog: pytest.LogCaptureFixture) -> None:
    (answer,), rest = judge(play([GET], handle), ["GET"])
    assert (answer.status, answer.body, rest) == (500, b"Internal Server Error", b"")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["GET / failed"]


@pytest.mark.parametrize("handle", [fails_half_way, says_too_much])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_response_that_is_cut_short(handle: Any, version: str, caplog: pytest.LogCaptureFixture) -> None:
    talk = conversation.Conversation(handle, Settings())
    written = b"".join(talk.receive(request("GET", "/", version)))
    assert talk.cut_short and talk.is_over
    assert written.rstrip(b"\r\n").endswith(b"some")
    assert "GET / failed" in caplog.text


def test_a_response_that_is_cut_short_is_an_error_over_blocking_sockets(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConnectionResetError):
        over_blocking([request("GET", "/", "1.0")], fails_half_way)


def test_a_response_that_is_cut_short_is_an_error_over_trio(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        client, server = tcp_pair()
        with client:
            client.sendall(request("GET", "/", "1.0"))
            server.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(server))
            await over_trio.serve(stream, fails_half_way, Settings())
            with pytest.raises(ConnectionResetError):
                over_socket(client, [])

    trio.run(story)


# -- Time ------------------------------------------------------------------------------------------------------------


def waited(talk: Any, now: float) -> float:
    """Seconds from now until the deadline."""
    return float(talk.deadline(now) - now)


def test_the_deadlines(judge: Any) -> None:
    settings = Settings(timeout_request_head=30, timeout_request_body=20, timeout_keep_alive=5, minimum_rate=2)
    talk = conversation.Conversation(handler.handle, settings)
    assert waited(talk, 100) == 30  # for the first byte
    assert waited(talk, 110) == 20
    assert list(talk.receive(b"GET / HTTP/1.1\r\n")) == []
    assert waited(talk, 120) == 30  # for the head, however it is cut
    assert list(talk.receive(b"Host: a\r\n")) == []
    assert waited(talk, 140) == 10
    assert b"".join(talk.receive(b"\r\n")).endswith(HELLO[1])
    assert waited(talk, 200) == 5  # for the next request
    assert waited(talk, 204) == 1
    assert b"".join(talk.receive(request("POST", "/echo", "1.1", "Content-Length: 100"))) == b""
    assert waited(talk, 210) == 20  # for a body that stalls
    assert b"".join(talk.receive(b"12")) == b""
    assert waited(talk, 220) == 11  # two bytes buy a second
    assert b"".join(talk.receive(b"x" * 90)) == b""
    assert waited(talk, 221) == 20  # and many not more than there was at first
    assert b"".join(talk.receive(b"x" * 8)).endswith(b"12" + b"x" * 98)
    assert waited(talk, 300) == 5


def test_deadlines_that_are_off() -> None:
    settings = Settings(timeout_request_head=0, timeout_request_body=0, timeout_keep_alive=0, minimum_rate=0)
    talk = conversation.Conversation(handler.handle, settings)
    assert talk.deadline(1) == inf
    assert list(talk.receive(ECHO + b"te")) == [b""]
    assert talk.deadline(2) == inf
    assert list(talk.receive(b"x")) == [b""]
    assert talk.deadline(3) == inf
    assert len(list(talk.receive(b"t"))) == 2
    assert talk.deadline(4) == 4  # this one is not off: nothing is kept


IMPATIENT = Settings(timeout_request_head=0.01, timeout_request_body=0.01, timeout_keep_alive=0.01)


def over_blocking_in_no_time(sent: bytes) -> bytes:
    client, server = tcp_pair()
    with client:
        client.sendall(sent)  # before the server reads, so that it does not matter how long a deadline is
        thread = threading.Thread(target=blocking.serve, args=(server, handler.handle, IMPATIENT))
        thread.start()
        try:
            return over_socket(client, [])
        finally:
            client.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def over_trio_in_no_time(sent: bytes) -> bytes:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return over_trio_streams([sent] if sent else [], settings=IMPATIENT, clock=clock)


@pytest.mark.parametrize("serve", [over_blocking_in_no_time, over_trio_in_no_time])
@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"", []),
        (GET[:9], [408]),
        (ECHO + b"te", [408]),
        (GET, [200]),
        (GET + ECHO, [200, 408]),
    ],
    ids=["nothing", "head", "body", "idle", "second body"],
)
def test_a_client_that_stops(sent: bytes, statuses: list[int], serve: Any, judge: Any) -> None:
    answers, rest = judge(serve(sent), ["GET"] * len(statuses))
    assert [answer.status for answer in answers] == statuses
    assert rest == b""


def endless(request: Any, body: bytes) -> Any:
    return handler.Response(200, [], itertools.repeat(b"x" * 65536))


def test_a_client_that_does_not_read_is_dropped_over_blocking_sockets() -> None:
    client, server = tcp_pair()
    with client:
        client.sendall(GET)
        blocking.serve(server, endless, Settings(timeout_write=0.01))
        with pytest.raises(ConnectionResetError):
            over_socket(client, [])


def test_a_client_that_does_not_read_is_dropped_over_trio() -> None:
    async def story() -> None:
        client, server = trio.testing.lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, GET)
            await over_trio.serve(server, endless, Settings())

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))


# -- The end ---------------------------------------------------------------------------------------------------------


def test_a_refusal_is_not_lost_to_a_client_that_is_still_sending(judge: Any) -> None:
    steps = [request("POST", "/echo", "1.1", "Content-Length: 8000000"), b"x" * 8_000_000]
    (answer,), rest = judge(over_blocking(steps), ["POST"])
    assert (answer.status, rest) == (413, b"")


def test_a_client_that_never_ends_is_not_heard_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "LINGER_SECONDS", 0.01)
    client, server = tcp_pair()
    with client:
        client.sendall(BAD)
        blocking.serve(server, handler.handle, Settings())
        assert server.fileno() == -1


def test_a_client_that_never_ends_is_not_heard_for_ever_by_trio() -> None:
    async def story() -> None:
        client, server = trio.testing.memory_stream_pair()
        await client.send_all(BAD)
        await over_trio.serve(server, handler.handle, Settings())

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_client_that_leaves_ends_its_own_connection_only() -> None:
    client, server = tcp_pair()
    client.sendall(GET)
    blocking.reset(client)
    client.close()
    blocking.serve(server, endless, Settings())
    assert server.fileno() == -1


def test_a_client_that_leaves_ends_its_own_connection_only_over_trio() -> None:
    async def story() -> None:
        client, server = trio.testing.memory_stream_pair()
        await client.send_all(GET)
        await client.aclose()
        await over_trio.serve(server, endless, Settings())

    trio.run(story)
