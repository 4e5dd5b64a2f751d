"""The server's side of a WebSocket, compiled."""

from typing_extensions import Buffer, Self, disjoint_base

from esg_protocols.settings import Settings
from esg_protocols.websocket.codec import Close, Ping, Pong
from esg_protocols.websocket.extensions import DeflateParameters
from esg_protocols.websocket.states import Reading, Writing

@disjoint_base
class NativeCodec:
    """A :class:`~esg_protocols.websocket.codec.Codec` of our own: RFC 6455 with permessage-deflate (RFC 7692).

    It does no I/O and has no clock. What is wrong is refused as soon as it can be seen: a frame with its header, a text
    at the first byte that is no UTF-8 (in a compressed message at its end), a message that is too large before its
    payload. The work is linear in the bytes, however they are cut and fragmented, and a fragment allocates nothing.

    The tables ``READING`` and ``WRITING`` of :mod:`esg_protocols.websocket.states` say what may happen next, and
    ``reading`` and ``writing`` where it stands. It is not thread-safe.

    Args:
        settings: ``ws_max_size`` and the deflate settings; the defaults if there are none.
        deflate: what the handshake agreed on; None is no compression.
    """

    def __new__(cls, settings: Settings | None = None, *, deflate: DeflateParameters | None = None) -> Self: ...
    @property
    def reading(self) -> Reading:
        """Where the incoming messages are."""

    @property
    def writing(self) -> Writing:
        """Whether something may still be sent."""

    @property
    def pending(self) -> bool:
        """Whether ``receive_data(b"")`` has more to say: the rest of a read that has become ``ws_max_size`` (1 MiB, if
        that is more) of decompressed messages; a failure behind good messages, which may be answered before it.

        Ask until it is false, then go on reading: small input may be much, and what waits is kept.
        """

    @property
    def must_close(self) -> bool:
        """Whether nothing is left but to write what :meth:`data_to_send` has and close the transport: both sides have
        closed, or the other one has failed or gone (RFC 6455 sections 7.1.1 and 7.1.7)."""
    # -- Reading
    def receive_data(self, data: Buffer) -> list[str | bytes | Ping | Pong | Close]:
        """Take in what was read.

        Args:
            data: bytes as they came, cut anywhere. What follows a close frame or a failure is ignored.

        Returns:
            What is whole now, in its order: ``str`` and ``bytes`` are messages.

        Raises:
            RemoteProtocolError: the other side broke a rule; ``status`` is the close code: 1002 (RFC 6455 section 5),
                1007 (text that is no UTF-8) or 1009 (a message above ``ws_max_size``). The close frame that says so
                is in :meth:`data_to_send`, unless one was sent before. Once; later calls return nothing.
            TypeError: ``data`` is not bytes-like.
        """

    def receive_eof(self) -> list[str | bytes | Ping | Pong | Close]:
        """Take in that the other side sends no more, which may be said again.

        Returns:
            ``Close(1006, "")`` unless it has closed or failed before (RFC 6455 section 7.1.5). What is pending is lost.
        """
    # -- Writing
    def data_to_send(self) -> bytes:
        """What the codec itself has to say: pongs, the answer to a close frame, the close frame of a failure.

        Write it before answers to the events, as the pings came before them. Of more than 16 pings the last one that is
        answered is the latest, which stands for those left out (RFC 6455 section 5.5.3).
        """

    def send_text(self, text: str) -> bytes:
        """A text message as bytes to write, in one frame (RFC 6455 section 5.6).

        Raises:
            LocalProtocolError: it is no ``str`` or has lone surrogates, or a close frame was sent.
        """

    def send_bytes(self, data: Buffer) -> bytes:
        """A binary message as bytes to write, in one frame.

        Raises:
            LocalProtocolError: it is not bytes, or a close frame was sent.
        """

    def send_ping(self, payload: bytes = b"") -> bytes:
        """A ping as bytes to write (RFC 6455 section 5.5.2).

        Raises:
            LocalProtocolError: the payload is not up to 125 bytes, or a close frame was sent.
        """

    def send_pong(self, payload: bytes = b"") -> bytes:
        """A pong that nobody asked for as bytes to write (RFC 6455 section 5.5.3); errors as for :meth:`send_ping`."""

    def send_close(self, code: int = 1000, reason: str = "") -> bytes:
        """The close frame as bytes to write; data may still come in until the other side has closed too.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 section 7.4); 1005 sends none.
            reason: up to 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: the code or the reason must not go on the wire, or a close frame was sent.
        """
