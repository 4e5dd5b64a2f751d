"""Whatever is said, however it is cut, compressed and fragmented: it comes out the same on both sides."""

from __future__ import annotations

import zlib
from importlib.util import find_spec
from typing import Any

import pytest
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket import CODECS, Close, Codec, DeflateParameters, Ping, load_codec
from esg_protocols.websocket.codecs.native import NativeCodec

from .frames import BINARY, PING, RSV1, SYNC, TEXT, bytewise, close, drain, fragments, frame, outcome, read_frames

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tools.examples import examples  # noqa: E402

quickly = examples(60)

LIBRARIES = ["zlib", *(["isal"] if find_spec("isal") else [])]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
MESSAGES = st.one_of(
    TEXTS,
    st.binary(max_size=40),
    st.builds(lambda part, times: part * times, TEXTS, st.integers(1, 2000)),
    st.builds(lambda part, times: part * times, st.binary(max_size=40), st.integers(1, 2000)),
)
PARAMETERS = st.builds(
    DeflateParameters, st.booleans(), st.booleans(), st.integers(9, 15), st.integers(8, 15), st.booleans()
)


class Compressor:
    """The client's side of permessage-deflate: compresses with one context, decompresses with the other."""

    def __init__(self, agreed: DeflateParameters) -> None:
        self.agreed = agreed
        self.compressor: Any = None
        self.decompressor: Any = None

    def compress(self, data: bytes) -> bytes:
        if self.compressor is None or self.agreed.client_no_context_takeover:
            self.compressor = zlib.compressobj(wbits=-max(9, self.agreed.client_max_window_bits))
        payload: bytes = self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return payload.removesuffix(SYNC) or b"\x00"

    def decompress(self, payload: bytes) -> bytes:
        if self.decompressor is None or self.agreed.server_no_context_takeover:
            self.decompressor = zlib.decompressobj(wbits=-self.agreed.server_max_window_bits)
        data: bytes = self.decompressor.decompress(payload + SYNC)
        return data


def encoded(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def cut(draw: Any, data: bytes, most: int) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=most)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def conversations(draw: Any) -> tuple[list[str | bytes], DeflateParameters | None, list[bytes], int, str]:
    """Messages, what is agreed on, the pieces in which they come, from which size ours are compressed, and by what."""
    messages = draw(st.lists(MESSAGES, max_size=5))
    agreed = draw(st.one_of(st.none(), PARAMETERS))
    client, data = Compressor(agreed) if agreed else None, b""
    for message in messages:
        bits = RSV1 if client and draw(st.booleans()) else 0
        payload = client.compress(encoded(message)) if client and bits else encoded(message)
        data += fragments(TEXT if isinstance(message, str) else BINARY, cut(draw, payload, 3), bits=bits)
    return (
        messages,
        agreed,
        cut(draw, data + close(1000), 8),
        draw(st.sampled_from([0, 20, 500])),
        draw(st.sampled_from(LIBRARIES)),
    )


@pytest.mark.parametrize("name", CODECS)
def test_an_echo(name: str) -> None:
    if name != "esg":
        pytest.importorskip(name, reason=f"{name} is not installed: its codec is NOT TESTED")

    @quickly
    @given(conversations())
    def echo(conversation: Any) -> None:
        messages, agreed, pieces, least, library = conversation
        limits = Settings(ws_deflate_min_size=least, ws_deflate_library=library)
        codec = load_codec(name)(limits, deflate=agreed)
        events: list[Any] = []
        for piece in pieces[:-1]:
            drain(codec, piece, events)
        said = b"".join(send(codec, event) for event in events)
        late: list[Any] = []
        if not codec.must_close:
            drain(codec, pieces[-1], late)
        assert events + late == [*messages, Close(1000, "")]
        if Close(1000, "") not in events:
            assert heard(said, agreed) == events

    def send(codec: Codec, event: Any) -> bytes:
        if isinstance(event, Close) or codec.must_close:
            return b""
        return codec.send_text(event) if isinstance(event, str) else codec.send_bytes(event)

    echo()


def heard(said: bytes, agreed: DeflateParameters | None) -> list[str | bytes]:
    client = Compressor(agreed) if agreed else None
    messages: list[str | bytes] = []
    for first, payload in read_frames(said):
        if first & RSV1:
            assert client is not None
            payload = client.decompress(payload)
        messages.append(payload.decode() if first & 0x0F == TEXT else payload)
    return messages


@st.composite
def damaged(draw: Any) -> bytes:
    """Frames of which some are none."""
    parts = [
        st.binary(max_size=10),
        st.builds(
            frame,
            st.integers(0, 15),
            st.binary(max_size=200),
            fin=st.booleans(),
            bits=st.sampled_from([0, 0, 0, 0x40, 0x20, 0x10]),
            key=st.binary(min_size=4, max_size=4),
        ),
        st.builds(frame, st.sampled_from([TEXT, BINARY, PING]), st.binary(max_size=200)),
        st.builds(lambda text: frame(TEXT, text.encode()), TEXTS),
        st.builds(close, st.integers(0, 5100), TEXTS.filter(lambda text: len(text.encode()) < 124)),
    ]
    return b"".join(draw(st.lists(st.one_of(parts), max_size=8)))


@st.composite
def cuts_of_damaged(draw: Any) -> tuple[bytes, list[bytes], DeflateParameters | None]:
    data = draw(damaged())
    return data, cut(draw, data, 8), draw(st.sampled_from([None, DeflateParameters()]))


@examples(400)
@given(cuts_of_damaged())
def test_the_outcome_does_not_depend_on_the_cuts(case: Any) -> None:
    data, pieces, agreed = case
    limits = Settings(ws_max_size=300)
    expected = outcome(NativeCodec(limits, deflate=agreed), [data])
    assert outcome(NativeCodec(limits, deflate=agreed), pieces) == expected
    assert outcome(NativeCodec(limits, deflate=agreed), bytewise(data)) == expected


@pytest.mark.parametrize("name", [name for name in CODECS if name != "esg"])
def test_the_others_fail_in_no_other_way(name: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed: its codec is NOT TESTED")

    @quickly
    @given(cuts_of_damaged())
    def fail(case: Any) -> None:
        _, pieces, agreed = case
        codec, events = load_codec(name)(Settings(ws_max_size=300), deflate=agreed), []  # type: ignore[var-annotated]
        for piece in pieces:
            try:
                drain(codec, piece, events)
            except RemoteProtocolError as error:
                assert error.status in (1002, 1007, 1009)
            list(read_frames(codec.data_to_send()))

    fail()


# -- Clients of others -----------------------------------------------------------------------------------------------


@quickly
@given(st.lists(MESSAGES, max_size=5), PARAMETERS)
def test_a_client_on_websockets(messages: list[str | bytes], agreed: DeflateParameters) -> None:
    pytest.importorskip("websockets")
    from websockets.extensions.permessage_deflate import PerMessageDeflate
    from websockets.frames import Opcode
    from websockets.protocol import CLIENT, Protocol

    client, server = Protocol(CLIENT, max_size=None), NativeCodec(deflate=agreed)
    client.extensions = [
        PerMessageDeflate(
            agreed.server_no_context_takeover,
            agreed.client_no_context_takeover,
            agreed.server_max_window_bits,
            max(9, agreed.client_max_window_bits),
        )
    ]
    for message in messages:
        (client.send_text if isinstance(message, str) else client.send_binary)(encoded(message))
    client.send_ping(b"p")
    events = server.receive_data(b"".join(client.data_to_send()))
    assert events == [*messages, Ping(b"p")]
    for event in messages:
        client.receive_data(server.send_text(event) if isinstance(event, str) else server.send_bytes(event))
    client.receive_data(server.data_to_send() + server.send_close(1001, "bye"))
    *frames, pong, end = client.events_received()
    assert [bytes(frame.data) for frame in frames] == [encoded(message) for message in messages]
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"p")
    assert (end.opcode, bytes(end.data)) == (Opcode.CLOSE, b"\x03\xe9bye")
    assert server.receive_data(b"".join(client.data_to_send())) == [Close(1001, "bye")]


@quickly
@given(st.lists(MESSAGES, max_size=5), PARAMETERS)
def test_a_client_on_wsproto(messages: list[str | bytes], agreed: DeflateParameters) -> None:
    pytest.importorskip("wsproto")
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import BytesMessage, CloseConnection, TextMessage
    from wsproto.events import Pong as TheirPong
    from wsproto.extensions import PerMessageDeflate

    extension = PerMessageDeflate(
        agreed.client_no_context_takeover,
        max(9, agreed.client_max_window_bits),
        agreed.server_no_context_takeover,
        agreed.server_max_window_bits,
    )
    extension.finalize("permessage-deflate")
    client, server = Connection(ConnectionType.CLIENT, [extension]), NativeCodec(deflate=agreed)
    for message in messages:
        kind = TextMessage if isinstance(message, str) else BytesMessage
        assert server.receive_data(client.send(kind(data=message))) == [message]
    said = b"".join(server.send_text(part) if isinstance(part, str) else server.send_bytes(part) for part in messages)
    client.receive_data(said + server.send_pong(b"p") + server.send_close(1001, "bye"))
    heard: list[Any] = [""]
    for event in client.events():
        if isinstance(event, (TextMessage, BytesMessage)):
            heard[-1] = heard[-1] + event.data if heard[-1] else event.data
            if event.message_finished:
                heard.append("")
        else:
            heard.append(event)
    assert [encoded(message) for message in heard[: len(messages)]] == [encoded(message) for message in messages]
    assert [event for event in heard if isinstance(event, TheirPong)] == [TheirPong(payload=b"p")]
    assert [event.code for event in heard if isinstance(event, CloseConnection)] == [1001]
    assert server.receive_data(client.send(CloseConnection(code=1001))) == [Close(1001, "")]
    assert server.must_close
