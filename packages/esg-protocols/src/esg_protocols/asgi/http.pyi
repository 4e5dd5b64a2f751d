"""HTTP on an asyncio transport: the protocol reads and writes, an exchange is one request and its response."""

import asyncio
from typing import Any

from typing_extensions import Buffer, disjoint_base

from esg_protocols.asgi.app_run import AppSide
from esg_protocols.asgi.awaitables import Done, Waiting
from esg_protocols.asgi.base import StreamProtocol
from esg_protocols.asgi.context import ServerContext
from esg_protocols.proxy_header import ProxyHeader

@disjoint_base
class HTTPProtocol(StreamProtocol):
    """One HTTP/1.1 connection that runs an ASGI app: an :class:`asyncio.Protocol` in all but name.

    It is what ``loop.create_server`` wants a factory of. Requests run one at a time and in order, each in a task
    and a context of its own (see :class:`ServerContext`).

    To the app it keeps the ASGI HTTP specification 2.5: ``receive`` returns ``http.disconnect`` once the client has
    left, has closed its side or has its whole response; ``send`` raises :class:`ClientDisconnected`, which is an
    ``OSError``, once the client has left, and :class:`LocalProtocolError` for a message of a wrong type or order, or
    one that must not go on the wire. ``send`` waits while the client does not read, and the client has to wait
    while the app does not.

    An app that fails before its response is answered for with 500; one that fails within it has its response cut
    short, so that the client sees it.

    Args:
        context: what the server lends its connections.
        proxy_header: what a proxy has said of this connection before HTTP began on it. The client that it names is that
            of all requests.
    """

    def __init__(self, context: ServerContext, proxy_header: ProxyHeader | None = None) -> None: ...
    def connection_made(self, transport: asyncio.Transport) -> None:
        """The transport is there. If the context says ``closing``, one request is answered, if it comes soon."""

    def connection_lost(self, error: Exception | None) -> None:
        """The transport is gone: an app in the middle of its response learns that its client is."""

    def data_received(self, data: bytes) -> None:
        """Take in what was read, and run the app for each request in it.

        Behind the first request of a connection small ones run in the loop's next turn, when it has read from all that
        have something.

        A request that cannot be read is answered with the status of its error (400, 414, 417, 431, 501 or 505), and
        the connection ends (RFC 9112 section 9.6).
        """

    def eof_received(self) -> bool | None:
        """The client closed its side.

        Returns:
            True if the transport is to stay open, because a request that came whole is still to be answered.
        """

    def resume_writing(self) -> None:
        """The transport's buffer has drained: ``send`` goes on, and so do requests that came meanwhile."""

    def tick(self) -> None:
        """Send off a head that waits for its body in vain, and hold the deadline against the time."""

    def on_deadline(self) -> None:
        """The client took too long: for a head or a body it is answered with 408, otherwise the connection ends."""

    def on_write_deadline(self) -> None:
        """The client does not take its response: the connection is reset."""

    def end_exchange(self) -> None:
        """End the request in work, if there is one, with 503 or in the middle of its response.

        The app is told that its client has gone; cancelling its task is the caller's affair.
        """

    def shutdown(self) -> None:
        """End the connection: now if it is idle, otherwise behind the response in work, or the first if it comes soon.

        Harmless when it is over.
        """

    def go_on(self) -> None:
        """Go on with requests that were read already. The loop calls it."""

@disjoint_base
class DirectReader:
    """An :class:`asyncio.BufferedProtocol` for another one; over uvloop, from a large body to a request without one.

    Args:
        protocol: whose connection it is. All calls but those that read are handed on to it.
    """

    def __new__(cls, protocol: HTTPProtocol) -> DirectReader: ...
    def get_buffer(self, size_hint: int) -> Buffer:
        """What the next bytes are to be read into."""

    def buffer_updated(self, size: int) -> None:
        """Take in what was read there."""

    def eof_received(self) -> bool | None: ...
    def connection_lost(self, error: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

@disjoint_base
class Exchange(AppSide):
    """One request and its response. Applications get its ``receive`` and ``send``."""

    def receive(self) -> Receive:
        """The next message: ``http.request`` with what came of the body since, or ``http.disconnect``.

        The first one that has to wait says ``100 Continue`` to a client that waits for it.
        """
    def send(self, message: Any) -> Done | Waiting:
        """Send ``http.response.start``, ``http.response.body``, or a message of an extension that the scope offers.

        The message is taken at once, not when it is awaited. What is returned waits while the client does not read, and
        now and then lets the loop have a turn. A file that does not go out at once goes on when it is awaited.

        Raises:
            LocalProtocolError: a message of a wrong type, order or content.
            OSError: a file that cannot be opened.
            ClientDisconnected: the client has gone (ASGI HTTP specification 2.4).
        """

@disjoint_base
class Receive(Waiting):
    """Waits for a message."""

@disjoint_base
class FileBody(Waiting):
    """Sends a file."""

    def on_writable(self) -> None:
        """The socket can take more. The loop calls it."""

def read_part(descriptor: int, size: int, offset: int) -> bytes:
    """Read a part of a file, in a thread."""

def close_behind(descriptor: int, reading: asyncio.Future[bytes]) -> None:
    """Close a file that a thread has done with."""
