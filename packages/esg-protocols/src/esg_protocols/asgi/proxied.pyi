"""The PROXY protocol in front of HTTP: a peer says on whose behalf it has connected; then HTTP has the transport."""

import asyncio
from collections.abc import Callable

from typing_extensions import disjoint_base

from esg_protocols.asgi.base import StreamProtocol
from esg_protocols.asgi.context import ServerContext

UNTRUSTED: str
"""Why a peer is refused that may not send a header."""
ENDED: str
"""Why one is that leaves in the middle."""

@disjoint_base
class ProxiedProtocol(StreamProtocol):
    """Reads a PROXY header, version 1 or 2, from a new connection, and makes an :class:`HTTPProtocol` of it.

    The header must be there and must come within ``timeout_request_head``. A peer that is not trusted, a header that
    is missing, malformed or late ends the connection without an answer and with one line in the log.

    Args:
        context: what the server lends its connections.
        is_trusted: asked once for each connection, with the peer's address and the address that was connected to, as
            scopes have them: whether it may speak for others.
    """

    def __init__(
        self,
        context: ServerContext,
        is_trusted: Callable[[tuple[str, int] | None, tuple[str, int | None] | None], bool],
    ) -> None: ...
    def connection_made(self, transport: asyncio.Transport) -> None:
        """The transport is there. If the context says ``closing``, one request is answered, if it comes soon."""

    def data_received(self, data: bytes) -> None:
        """Take in what was read; what is behind the header goes to HTTP."""

    def eof_received(self) -> None:
        """The peer closed its side before its header was whole."""

    def on_deadline(self) -> None:
        """The header did not come in time."""

    def end_exchange(self) -> None:
        """There is no request to end yet."""

    def shutdown(self) -> None:
        """End the connection, unless its first request comes soon."""

def note_refusal(context: ServerContext, client: tuple[str, int] | None, reason: str) -> None:
    """Count and log a connection that was closed for its PROXY header."""

def note_lateness(context: ServerContext, client: tuple[str, int] | None) -> None:
    """Count and log one whose header did not come in time; a stop says nothing of it."""
