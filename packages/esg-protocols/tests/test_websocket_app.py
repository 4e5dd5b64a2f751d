"""WebSockets as applications see them (ASGI WebSocket specification 2.5), over every transport and every codec."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from esg_protocols.errors import ClientDisconnected, LocalProtocolError

Play = Callable[..., None]

KEY = base64.b64encode(b"0123456789abcdef").decode()
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def handshake(*fields: str, path: str = "/", version: str = "13") -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        f"Sec-WebSocket-Version: {version}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(kind: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    size = len(payload)
    if size < 126:
        head = bytes([fin << 7 | kind, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([fin << 7 | kind, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([fin << 7 | kind, 0xFF]) + size.to_bytes(8, "big")
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + masked


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of each whole frame that a server sent."""
    while len(data) >= 2:
        size, at = data[1] & 127, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        if len(data) < at + size:
            return
        yield data[0] & 15, data[at : at + size]
        data = data[at + size :]


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


async def opened(client: Any, request: bytes | None = None) -> list[bytes]:
    """Shake hands; the lines of the answer."""
    await client.send(request or handshake(), more=True)
    await client.until(lambda: client.ended or b"\r\n\r\n" in client.received)
    head, _, rest = bytes(client.received).partition(b"\r\n\r\n")
    client.received[:] = rest
    return head.split(b"\r\n")


async def sent(client: Any, count: int) -> list[tuple[int, bytes]]:
    """The next frames that the server sends."""
    await client.until(lambda: client.ended or len(list(frames(bytes(client.received)))) >= count, f"{count} frames")
    found = list(frames(bytes(client.received)))
    client.received.clear()
    assert len(found) == count, found
    return found


class Sees:
    """An app that accepts, keeps what it receives, and does what the case tells it by text messages."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        assert (await receive()) == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            command = message.get("text")
            if command == "fail":
                raise ZeroDivisionError
            if command == "return":
                return
            if command == "close":
                await send({"type": "websocket.close", "code": 3000, "reason": "enough"})
            else:
                await send({"type": "websocket.send", **{key: message[key] for key in message if key != "type"}})


@pytest.fixture(params=["esg", "websockets", "wsproto"])
def ws(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param != "esg":
        pytest.importorskip(request.param)
    return {"ws": request.param}


# -- The handshake -----------------------------------------------------------------------------------------------------


def test_the_scope(play: Play) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        request = handshake("X-Twice: a", "x-twice: b", "Sec-WebSocket-Protocol: one, two", path="/a%20b?c=d")
        assert (await opened(client, request))[0] == b"HTTP/1.1 101 Switching Protocols"
        scope = dict(app.scope)
        headers = scope.pop("headers")
        assert headers[0] == (b"host", b"example")
        assert headers[-3:-1] == [(b"x-twice", b"a"), (b"x-twice", b"b")]
        assert scope.pop("client")[0] == scope.pop("server")[0] == "127.0.0.1"
        assert scope == {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "ws",
            "root_path": "/root",
            "path": "/root/a b",
            "raw_path": b"/root/a%20b",
            "query_string": b"c=d",
            "subprotocols": ["one", "two"],
            "state": {"name": "lent"},
            "extensions": {"websocket.http.response": {}},
        }
        assert client.context.counters.websockets == client.context.counters.requests == 1

    play(app, case, state={"name": "lent"}, settings={"root_path": "/root"})


def test_what_an_accept_says(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(LocalProtocolError, match="not among those offered"):
            await send({"type": "websocket.accept", "subprotocol": "three"})
        with pytest.raises(LocalProtocolError):
            await send({"type": "websocket.accept", "headers": [(b"x", b"a\r\nb: c")]})
        await send(
            {"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-a", b"b"), [b"set-cookie", b"c"]]}
        )
        await receive()

    async def case(client: Any) -> None:
        lines = await opened(client, handshake("Sec-WebSocket-Protocol: one, two"))
        assert b"sec-websocket-accept: " + accept_of(KEY) in lines
        assert {b"sec-websocket-protocol: two", b"x-a: b", b"set-cookie: c", b"server: esg"} < set(lines)
        assert [line for line in lines if line.startswith(b"date: ")]

    play_steps(app, case)


def accept_of(key: str) -> bytes:
    import hashlib

    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key + guid).encode()).digest())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (handshake(version="8"), 426),
        (handshake().replace(b"Version: 13\r\n", b"Version: 13\r\nSec-WebSocket-Version: 13\r\n"), 426),
        (handshake().replace(KEY.encode(), b"short"), 400),
        (handshake("Sec-WebSocket-Key: " + KEY), 400),
        (handshake("Content-Length: 3") + b"abc", 400),
        (handshake("Content-Length: 3"), 400),
        (handshake("Sec-WebSocket-Protocol: a, a"), 400),
        (handshake("Sec-WebSocket-Extensions: ;"), 400),
    ],
)
def test_handshakes_that_are_refused(request_bytes: bytes, status: int, play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("never")

    async def case(client: Any) -> None:
        await client.send(request_bytes)
        answer = await client.answer()
        assert answer.status == status
        if status == 426:
            assert answer.header(b"sec-websocket-version") == b"13"
            assert answer.header(b"upgrade") == b"websocket"
        await client.end()
        assert "Invalid HTTP request" in client.take_errors()[0].getMessage()

    play(app, case)


@pytest.mark.parametrize("setting", ["none", "auto"])
def test_upgrades_that_are_not_for_us(setting: str, play_steps: Play) -> None:
    """Without WebSockets, or to something else, it is a request as any other (RFC 9110 section 7.8)."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def case(client: Any) -> None:
        request = handshake()
        if setting == "auto":
            request = request.replace(b"Upgrade: websocket", b"Upgrade: h2c")
        await client.send(request + request)
        for answer in await client.answers(["GET", "GET"]):
            assert answer.body == b"ok"

    play_steps(app, case, settings={"ws": setting})


def test_bytes_that_come_too_early(play: Play) -> None:
    """Behind the request, before the app has accepted: they are kept, and the socket waits."""

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await go.wait()
            await send({"type": "websocket.accept"})
            for _ in range(2):
                await send({"type": "websocket.send", "text": (await receive())["text"]})

        client.app = app
        await client.send(handshake() + frame(TEXT, b"one"), more=True)
        await client.send(frame(TEXT, b"two"), more=True)
        await client.nothing_more()
        go.set()
        await client.until(lambda: client.ended or b"two" in client.received)
        assert list(frames(bytes(client.received).partition(b"\r\n\r\n")[2]))[:2] == [(TEXT, b"one"), (TEXT, b"two")]

    play(None, case)


# -- Denials -----------------------------------------------------------------------------------------------------------


def test_a_close_before_accept_is_403(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        assert (await receive())["type"] == "websocket.disconnect"
        with pytest.raises(LocalProtocolError, match="sent after 'websocket.close'"):
            await send({"type": "websocket.accept"})

    async def case(client: Any) -> None:
        await client.send(handshake(), more=True)
        assert (await client.answer()).status == 403
        await client.end()
        assert client.context.counters.websocket_denials == 1
        assert [record.args[1:] for record in client.accesses] == [("GET", "/", "1.1", 403)]

    play(app, case, access_log=True)


def test_a_denial_of_the_apps_own(play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"b")]})
        with pytest.raises(
            LocalProtocolError, match=r"'websocket.accept' sent where 'websocket.http.response.body' is due"
        ):
            await send({"type": "websocket.accept"})
        await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"are you?"})

    async def case(client: Any) -> None:
        await client.send(handshake(), more=True)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.header(b"x-a")) == (401, b"who are you?", b"b")
        assert answer.header(b"connection") == b"close"
        await client.end()
        assert [record.args[1:] for record in client.accesses] == [("GET", "/", "1.1", 401)]

    play(app, case, access_log=True)


def test_a_denial_that_is_cut_short(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-length", b"5")]})
        await send({"type": "websocket.http.response.body", "body": b"wh", "more_body": True})

    async def case(client: Any) -> None:
        await client.send(handshake(), more=True)
        assert (await client.end()).endswith(b"\r\n\r\nwh")
        assert "cut short" in client.take_errors()[0].getMessage()

    play_steps(app, case)


@pytest.mark.parametrize("how", ["return", "raise"])
def test_an_app_that_does_not_answer_the_handshake(how: str, play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if how == "raise":
            raise ZeroDivisionError

    async def case(client: Any) -> None:
        await client.send(handshake(), more=True)
        assert (await client.answer()).status == 500
        await client.end()
        said = [record.getMessage() for record in client.take_errors()]
        assert said == [
            "The application returned without accepting or denying a WebSocket."
            if how == "return"
            else "Exception in ASGI application"
        ]

    play(app, case)


# -- Messages ----------------------------------------------------------------------------------------------------------


def test_messages_both_ways(play: Play, ws: dict[str, Any]) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, "h\u00e4".encode()) + frame(BINARY, b"\x00\xff"), more=True)
        assert await sent(client, 2) == [(TEXT, "h\u00e4".encode()), (BINARY, b"\x00\xff")]
        await client.send(frame(TEXT, b"in ", fin=False), more=True)
        await client.send(frame(PING, b"hey") + frame(0, b"parts"), more=True)
        assert await sent(client, 2) == [(PONG, b"hey"), (TEXT, b"in parts")]
        assert app.messages == [
            {"type": "websocket.receive", "text": "h\u00e4"},
            {"type": "websocket.receive", "bytes": b"\x00\xff"},
            {"type": "websocket.receive", "text": "in parts"},
        ]
        counters = client.context.counters
        assert (counters.messages_received, counters.messages_sent) == (3, 3)
        assert counters.message_bytes_sent == 2 + 3 + 2 + 2 + 2 + 8

    play(app, case, settings=ws)


def test_large_messages(play_steps: Play, ws: dict[str, Any]) -> None:
    content = os.urandom(300_000)

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(BINARY, content), more=True)
        assert await sent(client, 1) == [(BINARY, content)]

    play_steps(Sees(), case, settings=ws)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "websocket.send"}, "needs either text or bytes"),
        ({"type": "websocket.send", "text": "a", "bytes": b"b"}, "needs either text or bytes"),
        ({"type": "websocket.send", "text": b"a"}, "must be"),
        ({"type": "websocket.send", "bytes": "a"}, "must be"),
        ({"type": "websocket.send", "text": "\ud800"}, ""),
        ({"type": "websocket.close", "code": 1005}, "not 1005"),
        ({"type": "websocket.close", "code": 999}, "not 999"),
        ({"type": "websocket.close", "code": "1000"}, "not '1000'"),
        ({"type": "websocket.accept"}, "'websocket.accept' sent where 'websocket.send' or 'websocket.close' is due"),
        ({"type": "http.response.start"}, "'http.response.start' sent where"),
        ({}, "None sent where"),
    ],
)
def test_messages_that_must_not_be_sent(
    message: dict[str, Any], says: str, play_steps: Play, ws: dict[str, Any]
) -> None:
    """The app gets its error and can go on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(LocalProtocolError, match="is due"):
            await send({"type": "websocket.send", "text": "early"})
        await send({"type": "websocket.accept"})
        with pytest.raises(LocalProtocolError) as raised:
            await send(message)
        assert says in str(raised.value)
        await send({"type": "websocket.send", "text": "fine"})
        await receive()

    async def case(client: Any) -> None:
        await opened(client)
        assert await sent(client, 1) == [(TEXT, b"fine")]

    play_steps(app, case, settings=ws)


# -- Ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("payload", "code", "reason"), [(close_payload(1001, "away"), 1001, "away"), (b"", 1005, "")])
def test_the_client_closes(payload: bytes, code: int, reason: str, play: Play, ws: dict[str, Any]) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, b"last"), more=True)
        assert await sent(client, 1) == [(TEXT, b"last")]
        await client.send(frame(CLOSE, payload), more=True)
        await client.until(lambda: client.ended)
        ((kind, answer),) = frames(bytes(client.received))
        assert (kind, answer[:2]) == (CLOSE, payload[:2])
        await client.until(lambda: not client.context.tasks)
        assert app.messages[-1] == {"type": "websocket.disconnect", "code": code, "reason": reason}
        assert client.context.counters.close_codes == {code: 1}
        assert [record.args[1:] for record in client.accesses] == [
            ("GET", "/", "1.1", 101),
            ("WEBSOCKET", "/", "1.1", code),
        ]
        client.received.clear()

    play(app, case, settings=ws, access_log=True)


def test_the_app_closes(play: Play, ws: dict[str, Any]) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, b"close"), more=True)
        assert await sent(client, 1) == [(CLOSE, close_payload(3000, "enough"))]
        await client.send(frame(TEXT, b"too late") + frame(CLOSE, close_payload(3000)), more=True)
        assert await client.end() == b""
        await client.until(lambda: not client.context.tasks)
        assert app.messages[1:] == [{"type": "websocket.disconnect", "code": 3000, "reason": ""}]

    play(app, case, settings=ws)


@pytest.mark.parametrize("answer", [close_payload(1000), close_payload(4001, "bye"), b""], ids=repr)
def test_the_code_that_counts_is_that_of_who_closed_first(answer: bytes, play: Play, ws: dict[str, Any]) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, b"close"), more=True)
        assert await sent(client, 1) == [(CLOSE, close_payload(3000, "enough"))]
        await client.send(frame(CLOSE, answer), more=True)
        await client.end()
        await client.until(lambda: not client.context.tasks)
        assert app.messages[-1]["code"] == (int.from_bytes(answer[:2], "big") or 1005)
        assert client.context.counters.close_codes == {3000: 1}
        assert client.accesses[-1].args[1:] == ("WEBSOCKET", "/", "1.1", 3000)

    play(app, case, settings=ws, access_log=True)


def test_a_client_that_does_not_answer_a_close(play_steps: Play) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, b"close"), more=True)
        await sent(client, 1)
        client.clock.advance(9)
        await client.nothing_more()
        client.clock.advance(3)
        await client.until(lambda: client.ended)
        await client.until(lambda: not client.context.tasks)
        assert app.messages[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert client.context.counters.close_codes == {3000: 1}

    play_steps(app, case)


def test_what_an_app_may_not_send_behind_its_close(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        for kind in ("websocket.send", "websocket.close"):
            with pytest.raises(LocalProtocolError, match="sent after 'websocket.close'"):
                await send({"type": kind, "text": "x"})

    async def case(client: Any) -> None:
        await opened(client)
        assert await sent(client, 1) == [(CLOSE, close_payload(1000))]
        await client.send(frame(CLOSE, close_payload(1000)), more=True)
        await client.end()

    play_steps(app, case)


@pytest.mark.parametrize(("command", "code"), [(b"fail", 1011), (b"return", 1000)])
def test_the_app_ends(command: bytes, code: int, play: Play, ws: dict[str, Any]) -> None:
    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, command), more=True)
        assert await sent(client, 1) == [(CLOSE, close_payload(code))]
        await client.send(frame(CLOSE, close_payload(code)), more=True)
        assert await client.end() == b""
        errors = [record.getMessage() for record in client.take_errors()]
        assert errors == (["Exception in ASGI application"] if code == 1011 else [])

    play(Sees(), case, settings=ws)


@pytest.mark.parametrize("how", ["leave", "hang_up"])
def test_the_client_is_lost(how: str, play: Play) -> None:
    errors: list[BaseException] = []
    app = Sees()

    async def sending(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
            await send({"type": "websocket.send", "text": "is anybody there?"})
        except OSError as error:
            errors.append(error)

    async def case(client: Any) -> None:
        await opened(client)
        await getattr(client, how)()
        await client.until(lambda: not client.context.tasks)
        assert app.messages == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
        assert type(errors[0]) is ClientDisconnected
        assert client.context.counters.close_codes == {1006: 1}

    play(sending, case)


def test_the_client_leaves_before_the_answer(play_steps: Play) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})

    async def case(client: Any) -> None:
        await client.send(handshake(), more=True)
        await client.until(lambda: client.context.tasks)
        await client.leave()
        await client.until(lambda: not client.context.tasks)
        assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]

    play_steps(app, case)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01a", 1002),  # not masked
        (b"\xc1\x80\x00\x00\x00\x00", 1002),  # a reserved bit
        (frame(TEXT, b"\xff"), 1007),
        (frame(BINARY, b"x" * 1001), 1009),
        (b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"\x00\x00\x00\x00", 1009),
        (frame(CLOSE, close_payload(1005)), 1002),
    ],
)
def test_a_client_that_breaks_a_rule(data: bytes, code: int, play: Play, ws: dict[str, Any]) -> None:
    app = Sees()
    if ws["ws"] == "wsproto" and data[1] & 127 == 127:
        pytest.skip("wsproto does not tell of a frame before its payload comes")

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, b"good"), more=True)
        assert await sent(client, 1) == [(TEXT, b"good")]
        await client.send(data + frame(TEXT, b"bad"), more=True)
        await client.until(lambda: client.ended)
        ((kind, payload),) = frames(bytes(client.received))
        assert (kind, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
        client.received.clear()
        await client.until(lambda: not client.context.tasks)
        assert app.messages[-1]["code"] == code
        assert "Invalid WebSocket data" in client.take_errors()[0].getMessage()
        assert client.context.counters.protocol_errors == 1

    play(app, case, settings={**ws, "ws_max_size": 1000})


def test_messages_before_a_close_are_received(play_steps: Play, ws: dict[str, Any]) -> None:
    """All in one read: the app gets them, and then the end."""
    app = Sees()

    async def receiving(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while not app.messages or app.messages[-1]["type"] == "websocket.receive":
            app.messages.append(await receive())

    async def case(client: Any) -> None:
        await opened(client)
        await client.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(CLOSE, close_payload(1000)), more=True)
        await client.until(lambda: not client.context.tasks)
        assert [message.get("text") for message in app.messages] == ["one", "two", None]
        await client.until(lambda: client.ended)
        client.received.clear()

    play_steps(receiving, case, settings=ws)


# -- Flow --------------------------------------------------------------------------------------------------------------


def test_an_app_that_does_not_receive_stops_the_socket(play_fake: Play) -> None:
    got: list[str] = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await go.wait()
            while (message := await receive())["type"] == "websocket.receive":
                got.append(message["text"])

        client.app = app
        await opened(client)
        for number in range(10):
            assert client.transport.reading == (number < 4)
            await client.send(frame(TEXT, b"%d" % number), more=True)
            await client.settle()
        go.set()
        await client.until(lambda: len(got) == 10)
        assert got == [str(number) for number in range(10)]
        assert client.transport.reading

    play_fake(None, case, settings={"ws_max_queue": 4})


def test_pings_are_answered_for_an_app_that_does_not_receive(play: Play, ws: dict[str, Any]) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await go.wait()

        client.app = app
        await opened(client)
        for number in range(4):
            await client.send(frame(TEXT, b"unread") + frame(PING, b"%d" % number), more=True)
            assert await sent(client, 1) == [(PONG, b"%d" % number)]
        go.set()
        await client.until(lambda: not client.context.tasks)

    play(None, case, settings={**ws, "ws_max_queue": 5})  # with which the socket stops


def test_an_app_that_is_always_behind_keeps_no_more_than_it_is_behind(play_fake: Play) -> None:
    turns = asyncio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            await turns.acquire()

    async def case(client: Any) -> None:
        async def go_on(rounds: int) -> int:
            for _ in range(rounds):
                await client.send(frame(TEXT, b"x" * 64))
                turns.release()
                await asyncio.sleep(0)
            await client.settle()
            return sys.getallocatedblocks()

        await opened(client)
        await client.send(frame(TEXT, b"x") * 3)
        before = await go_on(100)
        assert await go_on(1000) - before < 500

    play_fake(app, case)


def test_large_messages_that_nobody_receives(play_fake: Play) -> None:
    """Not their number alone stops the socket."""
    sizes: list[int] = []

    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await go.wait()
            while (message := await receive())["type"] == "websocket.receive":
                sizes.append(len(message["bytes"]))

        client.app = app
        await opened(client)
        for number in range(6):
            assert client.transport.reading == (number < 3)
            await client.send(frame(BINARY, b"x" * 400_000), more=True)
            await client.settle()
        go.set()
        await client.until(lambda: len(sizes) == 6)
        assert client.transport.reading

    play_fake(None, case)


def test_send_waits_for_a_client_that_does_not_read(play_steps: Play) -> None:
    count = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        await receive()
        await send({"type": "websocket.accept"})
        with pytest.raises(ClientDisconnected):
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 1000})
                count += 1

    async def case(client: Any) -> None:
        await opened(client)
        client.stop_reading()
        before = -1
        while before != count:
            before = count
            await client.settle()
        assert count < 10_000
        await client.leave()
        await client.until(lambda: not client.context.tasks)

    play_steps(app, case)


# -- Pings -------------------------------------------------------------------------------------------------------------


def test_pings_and_a_client_that_answers_them(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await opened(client)
        for _ in range(3):
            client.clock.advance(22)
            ((kind, payload),) = await sent(client, 1)
            assert kind == PING
            await client.send(frame(PONG, payload), more=True)
            await client.settle()
        assert not client.ended

    play_steps(Sees(), case)


def test_a_client_that_does_not_answer_pings(play_steps: Play) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        client.clock.advance(22)
        await sent(client, 1)
        await client.send(frame(PONG, b"something else"), more=True)
        await client.settle()
        client.clock.advance(22)
        await client.until(lambda: client.ended)
        ((kind, payload),) = frames(bytes(client.received))
        assert (kind, payload[:2]) == (CLOSE, (1011).to_bytes(2, "big"))
        client.received.clear()
        await client.until(lambda: not client.context.tasks)
        assert app.messages[-1]["code"] == 1011
        assert client.context.counters.ping_timeouts == 1
        assert "(ws_ping_timeout is 20)" in client.take_errors()[0].getMessage()

    play_steps(app, case)


def test_no_pings_where_none_are_wanted(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await opened(client)
        client.clock.advance(1000)
        await client.nothing_more()

    play_steps(Sees(), case, settings={"ws_ping_interval": 0})


def test_our_own_pause_is_not_held_against_the_client(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await asyncio.Event().wait()

        client.app = app
        await opened(client)
        client.clock.advance(22)
        await sent(client, 1)
        await client.send(frame(TEXT, b"x"), more=True)
        assert not client.transport.reading
        client.clock.advance(100)
        await client.nothing_more()

    play_fake(None, case, settings={"ws_max_queue": 1})


# -- The server stops --------------------------------------------------------------------------------------------------


def test_shutdown(play: Play, ws: dict[str, Any]) -> None:
    app = Sees()

    async def case(client: Any) -> None:
        await opened(client)
        client.context.closing = True
        for protocol in list(client.context.connections):
            protocol.shutdown()
            protocol.shutdown()
        assert await sent(client, 1) == [(CLOSE, close_payload(1012))]
        await client.until(lambda: not client.context.tasks)
        assert app.messages == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]
        await client.send(frame(CLOSE, close_payload(1012)), more=True)
        assert await client.end() == b""
        await client.until(lambda: not client.context.connections)

    play(app, case, settings=ws)


def test_shutdown_during_a_handshake(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await go.wait()
            await send({"type": "websocket.accept"})
            assert (await receive())["code"] == 1012

        client.app = app
        await client.send(handshake(), more=True)
        await client.until(lambda: client.context.tasks)
        client.context.closing = True
        for protocol in list(client.context.connections):
            protocol.shutdown()
        go.set()
        await client.until(lambda: client.ended or b"\r\n\r\n" in client.received)
        assert bytes(client.received).endswith(b"\x88\x02\x03\xf4")
        await client.send(frame(CLOSE, close_payload(1012)), more=True)
        await client.until(lambda: client.ended)
        client.received.clear()

    play_steps(None, case)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_stop_that_is_out_of_time(accepted: bool, play_steps: Play) -> None:
    async def case(client: Any) -> None:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if accepted:
                await send({"type": "websocket.accept"})
            seen.append(await receive())

        client.app = app
        await client.send(handshake(), more=True)
        await client.until(lambda: client.context.tasks)
        await client.until(lambda: client.ended or client.context.counters.websockets == accepted)
        for protocol in list(client.context.connections):
            protocol.end_exchange()
        await client.until(lambda: client.ended)
        await client.until(lambda: not client.context.tasks)
        assert seen[0]["code"] == (1012 if accepted else 1006)
        assert bytes(client.received).startswith(b"HTTP/1.1 101" if accepted else b"HTTP/1.1 503")
        client.received.clear()

    play_steps(None, case)


def test_more_than_can_be_worked_on(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        other = await client.another()
        await opened(other)
        await client.send(handshake(), more=True)
        answer = await client.answer()
        assert (answer.status, answer.header(b"retry-after")) == (503, b"1")
        assert "limit_concurrency" in client.take_errors()[0].getMessage()

    play_fake(Sees(), case, settings={"limit_concurrency": 1})
