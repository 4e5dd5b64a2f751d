"""Nothing grows: with the cycle collector off, messages, failures and whole connections leave no object behind."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator

import pytest
from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket import DeflateParameters, ServerHandshake
from esg_protocols.websocket.codecs.native import NativeCodec

from .frames import BINARY, CONTINUATION, PING, PONG, RSV1, TEXT, Make, close, deflate, fragments, frame

SLACK = 60
"""Objects that may come and go for other reasons; each of the leaks looked for would be hundreds."""


@pytest.fixture(autouse=True, scope="module")
def no_cycle_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def stays_flat(work: Callable[[], object], rounds: int = 500) -> None:
    for _ in range(20):
        work()
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    for _ in range(rounds):
        work()
    assert len(gc.get_objects()) - objects < SLACK
    assert sys.getallocatedblocks() - blocks < 2 * SLACK


STREAMS = {
    "text": frame(TEXT, b"a" * 200),
    "binary": frame(BINARY, b"\xff" * 200),
    "characters": frame(TEXT, "é€𝄞".encode() * 20),
    "fragments": fragments(TEXT, ["é€𝄞".encode()[:4], "é€𝄞".encode()[4:], b"a" * 5000], between=frame(PING, b"p")),
    "pongs": frame(PONG, b"p" * 100),
    "compressed": frame(TEXT, deflate(b"ab" * 5000), bits=RSV1) + frame(BINARY, deflate(b"x" * 300), bits=RSV1),
}
ENDS = {
    "nothing": b"",
    "close": close(1000, "bye"),
    "half a frame": frame(BINARY, b"x" * 300)[:200],
    "half a message": frame(TEXT, b"a" * 300, fin=False),
    "half a compressed message": frame(TEXT, deflate(b"ab" * 5000)[:5], bits=RSV1, fin=False),
    "bad text": frame(TEXT, b"\xff"),
    "bad fragment": frame(TEXT, b"a" * 300, fin=False) + frame(CONTINUATION, b"\xff"),
    "bad frame": b"\xff\xff",
    "bad close": close(1005),
    "bad deflate": frame(TEXT, b"\xff" * 10, bits=RSV1),
    "too large": frame(BINARY, bytes(70_000)),
    "bomb": frame(BINARY, deflate(bytes(70_000)), bits=RSV1),
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("cut", [1 << 20, 7], ids=["whole", "cut"])
def test_messages_on_one_connection(stream: str, cut: int) -> None:
    codec, data = NativeCodec(deflate=DeflateParameters()), STREAMS[stream]

    def work() -> None:
        for at in range(0, len(data), cut):
            for event in codec.receive_data(data[at : at + cut]):
                if isinstance(event, str):
                    codec.send_text(event)
                elif type(event) is bytes:
                    codec.send_bytes(event)
        codec.send_ping(b"p")
        codec.data_to_send()

    stays_flat(work)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_connections(read: bool, end: str) -> None:
    data, limited = STREAMS["fragments"] + STREAMS["compressed"] + ENDS[end], Settings(ws_max_size=60_000)

    def work() -> None:
        codec = NativeCodec(limited, deflate=DeflateParameters())
        with contextlib.suppress(RemoteProtocolError):
            codec.receive_data(data)
            while codec.pending and read:
                codec.receive_data(b"")
        codec.receive_eof()
        if read:
            codec.data_to_send()

    stays_flat(work, 200)


@pytest.mark.parametrize("name", ["esg", "wsproto"])  # the protocol object of websockets is a cycle by itself
def test_a_failure_that_nobody_asks_for(make: Make) -> None:
    data = frame(TEXT, b"a") + frame(TEXT, b"\xff")

    def work() -> None:
        codec = make()
        assert codec.receive_data(data) == ["a"]
        assert codec.pending

    stays_flat(work)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda codec: codec.send_text("\ud800"),
        lambda codec: codec.send_text(b"a"),
        lambda codec: codec.send_bytes("a"),
        lambda codec: codec.send_ping(b"a" * 126),
        lambda codec: codec.send_close(1005, "a"),
        lambda codec: codec.send_close(1000, "\ud800"),
    ],
)
def test_faults_of_the_application(wrong: Callable[[NativeCodec], object]) -> None:
    codec = NativeCodec()

    def work() -> None:
        with contextlib.suppress(LocalProtocolError):
            wrong(codec)

    stays_flat(work)


def test_handshakes() -> None:
    headers = [
        (b"host", b"a"),
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"a, b"),
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
    ]

    def work() -> None:
        handshake = ServerHandshake("GET", "1.1", headers)
        with contextlib.suppress(LocalProtocolError):
            handshake.send_accept("a", [(b"x-a", b"b"), (b"x a", b"")])
        NativeCodec(deflate=handshake.deflate)

    stays_flat(work)


@pytest.mark.parametrize("data", [b"a", "é" * 100, b"x" * 1000], ids=["byte", "text", "bytes"])
def test_what_is_sent_is_let_go(data: str | bytes) -> None:
    codec = NativeCodec(deflate=DeflateParameters())
    message = bytes(bytearray(data)) if isinstance(data, bytes) else "".join(list(data))
    before = sys.getrefcount(message)
    for _ in range(10):
        codec.send_text(message) if isinstance(message, str) else codec.send_bytes(message)
    assert sys.getrefcount(message) == before


def test_what_is_received_is_let_go() -> None:
    codec = NativeCodec()
    for data in (frame(TEXT, b"abc" * 100), frame(BINARY, b"abc" * 100)):
        [whole], [cut] = codec.receive_data(data), codec.receive_data(data[:50]) or codec.receive_data(data[50:])
        for event in (whole, cut):
            assert sys.getrefcount(event) == sys.getrefcount(object()) + 2
        del whole, cut, event
        buffer = bytearray(data)
        codec.receive_data(buffer)
        buffer += b"it is not exported any more"
