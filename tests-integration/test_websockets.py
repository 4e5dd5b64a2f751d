"""WebSockets through a real server: how they begin and end, what bounds them, and what the log says of it.

Every byte is seen and made here; test_websocket_clients has clients and frameworks that people use.
"""

from __future__ import annotations

import base64
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import esg_alone

MIB = 1024 * 1024
FIN, RSV1 = 0x80, 0x40
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = base64.b64encode(bytes(16)).decode()
ASKS = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
KERNELS = 24 * MIB
"""What the kernel's own buffers, some MiB on each side, take of what nobody reads."""
MOST_GROWN = 8 * MIB
MAX_SIZE = 16 * MIB
"""The default of ``--ws-max-size``."""


@pytest.fixture(scope="module", params=["esg", "websockets", "wsproto"])
def codec(request: pytest.FixtureRequest) -> str:
    """What reads and writes the frames of a server, each in turn."""
    if request.param != "esg":
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def shared(serve_module: Any, loop: str, codec: str) -> Any:
    """The server of most tests here, for those that make it log an error."""
    return serve_module("sockets:app", "--loop", loop, "--ws", codec, test_app=True, faults=True)


@pytest.fixture
def server(shared: Any) -> Iterator[Any]:
    """The server of most tests here; nothing goes wrong in it meanwhile."""
    mark = len(shared.lines)
    yield shared
    assert not shared.faults_since(mark)


@pytest.fixture(scope="module")
def native(serve_module: Any, loop: str) -> Any:
    """A server for what is the ASGI side's affair alone, with times that can be waited for."""
    options = ("--ws-ping-interval=0", "--timeout-write=1", "--no-access-log")
    return serve_module("sockets:app", "--loop", loop, *options, test_app=True)


# -- Frames


def frame(opcode: int, payload: bytes = b"", *, first: int = FIN) -> bytes:
    """A frame from a client; its key is zero, so that the payload stays as it is."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first | opcode]) + length + bytes(4) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def read_frame(wire: Any) -> tuple[int, bytes]:
    """Opcode and payload of a frame from the server, which is whole and not compressed."""
    head = wire.exactly(2)
    assert len(head) == 2, "the connection ended where a frame was due"
    assert head[0] & ~0x0F == FIN and not head[1] & 0x80
    size = head[1]
    if size >= 126:
        size = int.from_bytes(wire.exactly(2 if size == 126 else 8), "big")
    return head[0] & 0x0F, wire.exactly(size)


def read_close(wire: Any) -> tuple[int, str]:
    """Code and reason of the close frame that comes next."""
    opcode, payload = read_frame(wire)
    assert opcode == CLOSE, (opcode, payload[:80])
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()


def ask(wire: Any, target: str = "/", *headers: str) -> Any:
    """Ask for a WebSocket and return the head of the answer."""
    wire.request(target, headers=(*ASKS, *headers))
    return wire.head()


def join(wire: Any, target: str = "/", *headers: str) -> Any:
    head = ask(wire, target, *headers)
    assert (head.status, head["sec-websocket-accept"]) == (101, "ICX+Yqv66kxgM0FcWaLWlFLwTAI=")
    return head


def echoes(wire: Any, text: bytes = b"still here") -> bool:
    wire.send(frame(TEXT, text))
    return read_frame(wire) == (TEXT, text)


# -- The handshake


def test_accepted(server: Any) -> None:
    with server.connect() as wire:
        head = join(wire)
        assert (head["upgrade"], head["connection"], head["server"]) == ("websocket", "Upgrade", "esg")
        assert head["date"] is not None
        assert head["sec-websocket-extensions"] is head["sec-websocket-protocol"] is head["content-length"] is None
        assert echoes(wire)


def test_subprotocol_and_headers(server: Any) -> None:
    with server.connect() as wire:
        head = join(wire, "/extra?subprotocol=two&x-cup=tea", "Sec-WebSocket-Protocol: one, two", DEFLATE)
        assert (head["sec-websocket-protocol"], head["x-cup"]) == ("two", "tea")
        assert head["sec-websocket-extensions"].startswith("permessage-deflate")


def test_the_first_message_may_come_with_the_handshake(server: Any) -> None:
    with server.connect() as wire:
        lines = ["GET / HTTP/1.1", "Host: a", *ASKS, "", ""]
        wire.send("\r\n".join(lines).encode() + frame(TEXT, b"one") + frame(TEXT, b"two"))
        assert wire.head().status == 101
        assert [read_frame(wire), read_frame(wire)] == [(TEXT, b"one"), (TEXT, b"two")]


def test_denied(server: Any) -> None:
    with server.connect() as wire, server.says('"GET /deny HTTP/1.1" 403'):
        wire.request("/deny", headers=ASKS)
        answer = wire.answer()
        assert (answer.status, answer.complete, answer["upgrade"]) == (403, True, None)
        assert wire.is_over()


def test_denied_with_a_response(server: Any) -> None:
    with server.connect() as wire, server.says('"GET /respond HTTP/1.1" 401'):
        wire.request("/respond", headers=ASKS)
        answer = wire.answer()
        assert (answer.status, answer["x-why"], answer.body, answer.complete) == (401, "no ticket", b"no entry", True)
        assert wire.is_over()


@pytest.mark.parametrize("target", ["/deny", "/respond"])
def test_a_denial_reaches_a_client_that_did_not_wait_for_it(server: Any, target: str) -> None:
    """Bytes left unread would reset the connection, and that may overtake the answer (RFC 9112 section 9.6)."""
    with server.connect() as wire:
        wire.send("\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *ASKS, "", ""]).encode() + bytes(200_000))
        assert wire.answer().complete
        assert wire.socket.recv(1) == b""


def test_an_app_that_returns_before_it_answers(shared: Any) -> None:
    with shared.connect() as wire, shared.says("The application returned without accepting or denying a WebSocket."):
        wire.request("/early", headers=ASKS)
        assert wire.answer().status == 500
        assert wire.is_over()


BAD = {
    "version 8": (426, ("Sec-WebSocket-Version: 8", ASKS[3])),
    "no version": (426, (ASKS[3],)),
    "no key": (400, (ASKS[2],)),
    "a short key": (400, (ASKS[2], "Sec-WebSocket-Key: AAAA")),
    "two keys": (400, (*ASKS[2:], ASKS[3])),
    "a bad offer": (400, (*ASKS[2:], "Sec-WebSocket-Extensions: ;;")),
    "a bad subprotocol": (400, (*ASKS[2:], "Sec-WebSocket-Protocol: a b")),
    "a body": (400, (*ASKS[2:], "Content-Length: 4")),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_handshakes(server: Any, name: str) -> None:
    status, fields = BAD[name]
    with server.connect() as wire, server.says("Invalid HTTP request received"):
        wire.request(headers=(*ASKS[:2], *fields))
        answer = wire.answer()
        assert answer.status == status
        assert answer["sec-websocket-version"] == ("13" if status == 426 else None)
        assert wire.is_over()


def test_no_websockets(serve: Any, loop: str) -> None:
    server = serve("sockets:app", "--loop", loop, "--ws", "none", test_app=True)
    with server.connect() as wire:
        wire.request(headers=ASKS)
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, b"http")


# -- The end


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3999, "ünder"), (4999, "x" * 123)])
def test_closed_by_the_client(server: Any, code: int, reason: str) -> None:
    mark = len(server.lines)
    with server.connect() as wire:
        join(wire)
        assert echoes(wire)
        wire.send(close_frame(code, reason))
        assert read_close(wire)[0] == code
        assert wire.is_over()
        server.wait_for(f"app: disconnect {code} {reason}", mark)
        server.wait_for(f'"WEBSOCKET / HTTP/1.1" {code}', mark)


def test_closed_by_the_client_without_a_code(server: Any) -> None:
    with server.connect() as wire, server.says("app: disconnect 1005 "):
        join(wire)
        wire.send(frame(CLOSE))
        assert read_frame(wire) == (CLOSE, b"")
        assert wire.is_over()


def test_closed_by_the_app(server: Any) -> None:
    with server.connect() as wire, server.says('"WEBSOCKET /close?code=4001&reason=enough HTTP/1.1" 4001'):
        join(wire, "/close?code=4001&reason=enough")
        assert read_close(wire) == (4001, "enough")
        with server.says("app: answered 4001"):
            wire.send(close_frame(4001))
            assert wire.is_over()


def test_an_app_that_raises(shared: Any) -> None:
    mark = len(shared.lines)
    with shared.connect() as wire:
        join(wire, "/fail")
        wire.send(frame(TEXT, b"go"))
        assert read_close(wire) == (1011, "")
        wire.send(close_frame(1011))
        assert wire.is_over()
    shared.wait_for("ERROR:    Exception in ASGI application", mark)
    shared.wait_for("RuntimeError: on purpose", mark)
    shared.wait_for('"WEBSOCKET /fail HTTP/1.1" 1011', mark)


def test_an_app_that_returns(server: Any) -> None:
    with server.connect() as wire, server.says('"WEBSOCKET /leave HTTP/1.1" 1000'):
        join(wire, "/leave")
        assert read_close(wire) == (1000, "")
        wire.send(close_frame(1000))
        assert wire.is_over()


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_client_that_vanishes(server: Any, how: str) -> None:
    mark = len(server.lines)
    with server.connect() as wire:
        join(wire)
        assert echoes(wire)
        getattr(wire, how)()
        server.wait_for("app: disconnect 1006 ", mark)
        server.wait_for('"WEBSOCKET / HTTP/1.1" 1006', mark)


@esg_alone
def test_the_access_log(server: Any) -> None:
    mark = len(server.lines)
    with server.connect() as wire:
        host, port = wire.socket.getsockname()
        join(wire, "/?a=b")
        server.wait_for(f'INFO:     {host}:{port} - "GET /?a=b HTTP/1.1" 101 Switching Protocols', mark)
        wire.send(close_frame(1000))
        assert read_close(wire) == (1000, "")
    server.wait_for(f'INFO:     {host}:{port} - "WEBSOCKET /?a=b HTTP/1.1" 1000', mark)


def test_sigterm(serve: Any, loop: str, codec: str) -> None:
    """Who is here is told to come again, the app too; a handshake that has begun is finished first."""
    server = serve("sockets:app", "--loop", loop, "--ws", codec, test_app=True)
    with server.connect() as idle, server.connect() as asking, server.connect() as opener:
        join(idle)
        asking.request("/slow?gate=late", headers=ASKS)
        opener.request("/open?gate=late", "POST", headers=("Content-Length: 1",))
        server.wait_for("app: asked")
        assert server.get("/hello").status == 200
        server.signal(signal.SIGTERM)
        assert read_close(idle) == (1012, "")
        idle.send(close_frame(1012))
        assert idle.is_over()
        opener.send(b"x")
        assert opener.answer().status == 200
        assert asking.head().status == 101
        assert read_close(asking) == (1012, "")
        asking.send(close_frame(1012))
        assert asking.is_over()
    assert server.wait() == server.status
    said = [line for line in server.lines if line.startswith("app: ")]
    assert said == ["app: asked", "app: disconnect 1012 ", "app: disconnect 1012 ", "app: shutdown"]
    server.wait_for('"WEBSOCKET / HTTP/1.1" 1012')


def test_a_client_that_does_not_answer_is_dropped_in_a_stop(serve: Any, loop: str) -> None:
    server = serve("sockets:app", "--loop", loop, "--timeout-graceful-shutdown=2", test_app=True)
    with server.connect() as wire:
        join(wire)
        server.signal(signal.SIGTERM)
        assert read_close(wire) == (1012, "")
        began = time.monotonic()
        assert server.wait() == server.status
        assert time.monotonic() - began < 7
        assert wire.is_over()
    assert [line for line in server.lines if line.startswith("app: ")] == ["app: disconnect 1012 ", "app: shutdown"]


@esg_alone
def test_limit_max_requests_counts_websockets(serve: Any, loop: str) -> None:
    server = serve("sockets:app", "--loop", loop, "--limit-max-requests=3", test_app=True)
    for number in range(3):
        with server.connect() as wire:
            join(wire)
            if number < 2:
                assert echoes(wire)
                wire.send(close_frame(1000))
                assert read_close(wire) == (1000, "")
            else:
                assert read_close(wire) == (1012, "")
                wire.send(close_frame(1012))
            assert wire.is_over()
    assert server.wait() == 0
    server.wait_for("Stopping after 3 requests (limit_max_requests)")


# -- Pings


def test_every_ping_is_answered(server: Any) -> None:
    with server.connect() as wire:
        join(wire)
        wire.send(b"".join(frame(PING, b"%d" % number) for number in range(10)))
        assert [read_frame(wire) for _ in range(10)] == [(PONG, b"%d" % number) for number in range(10)]
        assert echoes(wire)


def test_pings_are_not_answered_behind_a_close_frame(server: Any) -> None:
    with server.connect() as wire, server.says("app: answered 4001"):
        join(wire, "/close?code=4001&reason=enough")
        wire.send(frame(PING, b"one") + frame(PING, b"two") + close_frame(4001))
        assert read_close(wire) == (4001, "enough")
        assert wire.is_over()


# -- What is broken


BROKEN = {
    "a reserved bit": ((1002,), frame(TEXT, b"x", first=FIN | 0x20)),
    "a reserved opcode": ((1002,), frame(0x3, b"x")),
    "no mask": ((1002,), b"\x81\x01x"),
    "a continuation of nothing": ((1002,), frame(CONTINUATION, b"x")),
    "a large ping": ((1002,), frame(PING, bytes(126))),
    "text that is no UTF-8": ((1007,), frame(TEXT, b"\xff")),
    "2^62 bytes": ((1009,), b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4)),
    "2^63 bytes": ((1002, 1009), b"\x82\xff" + (1 << 63).to_bytes(8, "big") + bytes(4)),
    "a message above the limit": ((1009,), b"\x82\xff" + (MAX_SIZE + 1).to_bytes(8, "big") + bytes(4)),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("before", [b"", frame(TEXT, b"fine")], ids=["alone", "behind a message"])
def test_broken_frames(server: Any, codec: str, name: str, before: bytes) -> None:
    """Told why, and at once; a message that came right before it changes nothing about that."""
    codes, data = BROKEN[name]
    if codec == "wsproto" and codes == (1009,):
        pytest.skip("wsproto says nothing of a size before the bytes are there")
    with server.connect() as wire, server.says("Invalid WebSocket data"), server.says("app: disconnect 10"):
        join(wire)
        wire.send(before + data)
        opcode, payload = read_frame(wire)
        if before and opcode == TEXT:
            opcode, payload = read_frame(wire)
        assert opcode == CLOSE
        code = int.from_bytes(payload[:2], "big")
        assert code in codes
        assert wire.is_over()


# -- What a client may not do to a server


def bomb(size: int) -> bytes:
    """A compressed message of so many zeros."""
    compressor = zlib.compressobj(9, wbits=-15)
    block = bytes(MIB)
    data = b"".join(compressor.compress(block) for _ in range(size // MIB)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(BINARY, data[:-4], first=FIN | RSV1)


@pytest.fixture(scope="module")
def large_bomb() -> bytes:
    data = bomb(200 * MIB)
    assert len(data) < 300_000
    return data


def test_deflate_bomb(server: Any, codec: str, large_bomb: bytes) -> None:
    """200 MiB in 200 kB: what does not fit under the limit is never made."""
    with server.connect() as wire:
        assert "permessage-deflate" in join(wire, "/", DEFLATE)["sec-websocket-extensions"]
        server.forget_peak()
        before = server.memory()
        wire.send(large_bomb)
        assert read_close(wire)[0] == 1009
        assert wire.is_over()
        # What is decompressed grows up to the limit, and is copied as it grows; a library makes more copies.
        most = 2 * MAX_SIZE if codec == "esg" else 4 * MAX_SIZE
        assert server.peak_memory() - before < most + MOST_GROWN


def test_a_million_empty_continuation_frames(native: Any) -> None:
    """They make no message and hold nobody up: others are answered meanwhile."""
    flood = frame(CONTINUATION, first=0) * 10_000
    with native.connect() as wire:
        join(wire)
        native.forget_peak()
        before = native.memory()
        wire.send(frame(TEXT, b"a", first=0))
        for _ in range(100):
            wire.send(flood)
            began = time.monotonic()
            assert native.get("/hello").status == 200
            assert time.monotonic() - began < 2
        wire.send(frame(CONTINUATION, b"z"))
        assert read_frame(wire) == (TEXT, b"az")
        assert native.peak_memory() - before < MOST_GROWN


def test_many_small_messages_in_one_read(native: Any) -> None:
    """More than the queue holds: each is answered, in its order."""
    with native.connect() as wire:
        join(wire)
        wire.send(b"".join(frame(TEXT, b"%d" % number) for number in range(5000)))
        assert [read_frame(wire)[1] for _ in range(5000)] == [b"%d" % number for number in range(5000)]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_comes_behind_our_close_frame_is_dropped(native: Any, word: str, compressed: bool) -> None:
    """More than the queue holds: the client's close frame behind it is seen all the same."""
    message = bomb(MIB) if compressed else frame(BINARY, bytes(65536))
    with native.connect() as wire:
        join(wire, f"/turn-away?gate={word}", DEFLATE)
        # Not all of it is taken before the gate is open.
        sender = threading.Thread(target=wire.send, args=(message * 100 + close_frame(1000),))
        sender.start()
        assert native.get(f"/open?gate={word}").status == 200
        sender.join()
        assert read_close(wire) == (1000, "")
        assert wire.is_over()


def test_a_slow_reader_holds_send(native: Any) -> None:
    with native.connect(receive_buffer=4096) as wire:
        native.forget_peak()
        before, mark = native.memory(), len(native.lines)
        join(wire, "/give")
        native.wait_for("app: giving", mark)
        # It does not read: in the end the write deadline drops it, and the app has not been let to go on meanwhile.
        line = native.wait_for("app: gave ", mark)
        sent, error = line.split()[2:]
        assert int(sent) < KERNELS
        assert error == "ClientDisconnected"
        assert native.peak_memory() - before < MOST_GROWN
        native.wait_for("timeout_write", mark)


def test_an_app_that_does_not_receive_stops_the_socket(native: Any, word: str) -> None:
    """``--ws-max-queue`` messages are kept, the rest waits in the kernel's buffers and then with the client."""
    message = frame(BINARY, bytes(65536))
    with native.connect() as wire:
        mark = len(native.lines)
        join(wire, f"/deaf?gate={word}")
        native.wait_for("app: deaf", mark)
        native.forget_peak()
        before = native.memory()
        taken = wire.offer(message, 200 * MIB)
        assert taken < KERNELS
        assert native.peak_memory() - before < MOST_GROWN
        assert native.get(f"/open?gate={word}").status == 200
        # What was begun is finished, and all of it is received then.
        rest = message[taken % len(message) :]
        wire.send(rest + close_frame(1000))
        native.wait_for(f"app: received {taken // len(message) + 1}", mark)
        assert read_close(wire) == (1000, "")


def test_a_peer_that_does_not_answer_pings(serve: Any, loop: str, codec: str) -> None:
    options = ("--ws-ping-interval=1", "--ws-ping-timeout=1")
    server = serve("sockets:app", "--loop", loop, "--ws", codec, *options, test_app=True)
    with server.connect() as silent, server.connect() as alive:
        join(silent)
        join(alive)
        for _ in range(3):
            opcode, payload = read_frame(alive)
            assert opcode == PING and payload
            alive.send(frame(PONG, payload))
        assert read_frame(silent)[0] == PING
        assert read_close(silent) == (1011, "keepalive ping timeout")
        assert silent.is_over()
        server.wait_for("a ping that was not answered (ws_ping_timeout is 1)")
        server.wait_for("app: disconnect 1011 keepalive ping timeout")
        server.wait_for('"WEBSOCKET / HTTP/1.1" 1011')
        while not echoes_behind_pings(alive):
            pass


def echoes_behind_pings(wire: Any) -> bool:
    """Whether the connection is good still; pings that come in between are answered."""
    wire.send(frame(TEXT, b"still here"))
    while (read := read_frame(wire))[0] == PING:
        wire.send(frame(PONG, read[1]))
    return read == (TEXT, b"still here")
