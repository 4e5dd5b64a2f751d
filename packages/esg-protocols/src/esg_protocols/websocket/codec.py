"""The face of a WebSocket codec: bytes in, messages out; messages in, bytes out. And the codecs by name.

A codec begins where the handshake ends. It does no I/O and has no clock.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, Protocol, TypeAlias

from esg_protocols.settings import Settings
from esg_protocols.websocket.extensions import DeflateParameters


class Ping(NamedTuple):
    """A ping, which has its pong already in :meth:`Codec.data_to_send` (RFC 6455 section 5.5.2)."""

    payload: bytes
    """Up to 125 bytes."""


class Pong(NamedTuple):
    """A pong, asked for or not (RFC 6455 section 5.5.3)."""

    payload: bytes
    """That of the ping it answers."""


class Close(NamedTuple):
    """The last event: the other side has closed (RFC 6455 section 5.5.1), or the connection has ended without that."""

    code: int
    """As received; 1005 if there was none, 1006 if the input ended without a close frame (RFC 6455 section 7.1.5)."""
    reason: str
    """As received; often empty."""


Event: TypeAlias = str | bytes | Ping | Pong | Close
"""A text message, a binary message, or one of the others."""


class Codec(Protocol):
    """The server's side of a WebSocket (RFC 6455), from the end of its handshake on.

    Give it what was read, write what it returns; after each :meth:`receive_data`, also what :meth:`data_to_send` has.
    It is not thread-safe.
    """

    def __init__(self, settings: Settings | None = None, *, deflate: DeflateParameters | None = None) -> None:
        """
        Args:
            settings: ``ws_max_size`` and the deflate settings; the defaults if there are none.
            deflate: what the handshake agreed on; None is no compression.
        """

    @property
    def pending(self) -> bool:
        """Whether ``receive_data(b"")`` has more to say: where small input became much, the rest of it; a failure
        behind good messages, which may be answered before it.

        Ask until it is false, then go on reading.
        """

    @property
    def must_close(self) -> bool:
        """Whether nothing is left but to write what :meth:`data_to_send` has and close the transport: both sides have
        closed, or the other one has failed or gone (RFC 6455 sections 7.1.1 and 7.1.7)."""

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take in what was read.

        Args:
            data: bytes as they came, cut anywhere. What follows a close frame or a failure is ignored.

        Returns:
            What is whole now, in its order.

        Raises:
            RemoteProtocolError: the other side broke a rule; ``status`` is the close code: 1002 (RFC 6455 section 5),
                1007 (text that is no UTF-8) or 1009 (a message above ``ws_max_size``). The close frame that says so
                is in :meth:`data_to_send`, unless one was sent before. Once; later calls return nothing.
        """

    def receive_eof(self) -> list[Event]:
        """Take in that the other side sends no more, which may be said again.

        Returns:
            ``Close(1006, "")`` unless it has closed or failed before.
        """

    def data_to_send(self) -> bytes:
        """What the codec itself has to say: pongs, the answer to a close frame, the close frame of a failure.

        Write it before answers to the events, as the pings came before them. Of more than 16 pings the last one that is
        answered is the latest, which stands for those left out (RFC 6455 section 5.5.3).
        """

    def send_text(self, text: str) -> bytes:
        """A text message as bytes to write.

        Raises:
            LocalProtocolError: it is no ``str`` or has lone surrogates, or a close frame was sent.
        """

    def send_bytes(self, data: bytes | bytearray | memoryview) -> bytes:
        """A binary message as bytes to write.

        Raises:
            LocalProtocolError: it is not bytes, or a close frame was sent.
        """

    def send_ping(self, payload: bytes = b"") -> bytes:
        """A ping as bytes to write.

        Raises:
            LocalProtocolError: the payload has more than 125 bytes, or a close frame was sent.
        """

    def send_pong(self, payload: bytes = b"") -> bytes:
        """A pong that nobody asked for as bytes to write; errors as for :meth:`send_ping`."""

    def send_close(self, code: int = 1000, reason: str = "") -> bytes:
        """The close frame as bytes to write; data may still come in until the other side has closed too.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 section 7.4); 1005 sends none.
            reason: up to 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: the code or the reason must not go on the wire, or a close frame was sent.
        """


CODECS = {
    "esg": "esg_protocols.websocket.codecs.native:NativeCodec",
    "websockets": "esg_protocols.websocket.codecs.websockets_lib:WebSocketsCodec",
    "wsproto": "esg_protocols.websocket.codecs.wsproto_lib:WSProtoCodec",
}
"""Where each codec is, by name. Only the first is there without another library."""


def load_codec(name: str) -> type[Codec]:
    """The codec of that name.

    Raises:
        KeyError: there is none.
        ImportError: its library is not installed.
    """
    module, _, attribute = CODECS[name].partition(":")
    found: type[Codec] = getattr(import_module(module), attribute)
    return found
