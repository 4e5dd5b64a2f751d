"""The codec on the ``wsproto`` library."""

from __future__ import annotations

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.events import Event as WSProtoEvent
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import CloseReason

from esg_protocols.errors import RemoteProtocolError
from esg_protocols.settings import Settings
from esg_protocols.websocket.codec import Close, Event
from esg_protocols.websocket.codecs.library import LibraryCodec
from esg_protocols.websocket.extensions import DeflateParameters

# The library decompresses what it is given without a limit; in pieces of this size it makes at most 4 MiB before the
# size is looked at, as deflate can make a thousand bytes of one.
PIECE = 4096


class WSProtoCodec(LibraryCodec):
    """A :class:`~esg_protocols.websocket.codec.Codec` whose frames ``wsproto`` reads and writes.

    It compresses every message, whatever its size, and has a memory level of its own.

    Args:
        settings: ``ws_max_size``; the defaults if there are none.
        deflate: what the handshake agreed on; None is no compression.
    """

    def __init__(self, settings: Settings | None = None, *, deflate: DeflateParameters | None = None) -> None:
        super().__init__(settings or Settings())
        extensions: list[Extension] = [] if deflate is None else [_deflate_extension(deflate)]
        self._connection = Connection(ConnectionType.SERVER, extensions)
        self._compresses = deflate is not None
        self._parts: list[str | bytes] = []
        self._size = 0

    # -- Reading

    def read(self, data: bytes, events: list[Event]) -> None:
        step = PIECE if self._compresses else len(data)
        for at in range(0, len(data), step):
            if self._connection.state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
                break
            self._connection.receive_data(data[at : at + step])
            for event in self._connection.events():
                self._take_event(event, events)

    def _take_event(self, event: WSProtoEvent, events: list[Event]) -> None:
        if isinstance(event, Ping):
            pong = Pong(payload=bytes(event.payload))
            answer = self._connection.send(pong) if self._connection.state is ConnectionState.OPEN else b""
            self.take_ping(bytes(event.payload), bytes(answer), events)
        elif isinstance(event, Pong):
            self.take_pong(bytes(event.payload), events)
        elif isinstance(event, CloseConnection):
            self._take_close(event, events)
        elif isinstance(event, (TextMessage, BytesMessage)):
            self._take_part(event, events)

    def _take_close(self, event: CloseConnection, events: list[Event]) -> None:
        if self._connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            # Not from the client: the library says so when it has failed.
            raise RemoteProtocolError(event.reason or "not a WebSocket frame", int(event.code))
        answer = b""
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            answer = bytes(self._connection.send(CloseConnection(code=event.code)))
        self.take_close(Close(int(event.code), event.reason or ""), answer, events)

    def _take_part(self, event: TextMessage | BytesMessage, events: list[Event]) -> None:
        data = event.data if isinstance(event.data, str) else bytes(event.data)
        self._size += len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        self.check_size(self._size)
        self._parts.append(data)
        if event.message_finished:
            parts, self._parts, self._size = self._parts, [], 0
            texts = [part for part in parts if isinstance(part, str)]
            events.append("".join(texts) if texts else b"".join(part for part in parts if isinstance(part, bytes)))

    # -- Writing

    def write_message(self, data: bytes, is_text: bool) -> bytes:
        event = TextMessage(data=data.decode()) if is_text else BytesMessage(data=data)
        return bytes(self._connection.send(event))

    def write_ping(self, payload: bytes) -> bytes:
        return bytes(self._connection.send(Ping(payload=payload)))

    def write_pong(self, payload: bytes) -> bytes:
        return bytes(self._connection.send(Pong(payload=payload)))

    def write_close(self, code: int, reason: str) -> bytes:
        number = CloseReason(code) if code == 1005 else code
        return bytes(self._connection.send(CloseConnection(code=number, reason=reason or None)))


def _deflate_extension(deflate: DeflateParameters) -> PerMessageDeflate:
    extension = PerMessageDeflate(
        client_no_context_takeover=deflate.client_no_context_takeover,
        client_max_window_bits=max(9, deflate.client_max_window_bits),
        server_no_context_takeover=deflate.server_no_context_takeover,
        server_max_window_bits=deflate.server_max_window_bits,
    )
    extension.finalize("permessage-deflate")  # which enables it
    return extension
