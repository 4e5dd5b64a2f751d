"""WebSockets on an asyncio transport."""

from typing import Any

from typing_extensions import disjoint_base

from esg_protocols.asgi.app_run import AppSide
from esg_protocols.asgi.awaitables import Done, Waiting
from esg_protocols.asgi.base import StreamProtocol

@disjoint_base
class WebSocketProtocol(StreamProtocol):
    """One WebSocket that runs an ASGI app. :class:`HTTPProtocol` makes it when a request asks for one.

    It takes the transport over with the request's head: nothing is parsed again. The setting ``ws`` chooses the codec.

    To the app it keeps the ASGI WebSocket specification 2.5: ``receive`` returns ``websocket.connect``, messages, and
    in the end ``websocket.disconnect`` with the close code and the reason; ``send`` takes ``websocket.accept``,
    ``websocket.send``, ``websocket.close`` and, to deny with a response of the app's own,
    ``websocket.http.response.start`` and ``.body``. An app that fails closes with 1011, one that returns with 1000;
    before it has accepted, with 500 instead of the handshake.
    """

    def data_received(self, data: bytes) -> None:
        """Take in what was read. Who breaks a rule is told which by the close code, and the connection ends."""

    def eof_received(self) -> None:
        """The client closed its side: the connection ends."""

    def end_exchange(self) -> None:
        """Drop the connection: the client did not answer the close frame, or the app the handshake."""

    def shutdown(self) -> None:
        """Close with 1012, "service restart", and tell the app. Harmless when it is over."""

@disjoint_base
class WebSocket(AppSide):
    """The application's side of a WebSocket."""

    def receive(self) -> NextMessage:
        """The next message."""

    def send(self, message: Any) -> Done | Waiting:
        """Send a message, which is taken at once. What is returned waits while the client does not read.

        Raises:
            LocalProtocolError: a message of a wrong type, order or content, or one behind ``websocket.close``.
            ClientDisconnected: the client has gone or closed.
        """

@disjoint_base
class NextMessage(Waiting):
    """Waits for a message."""
