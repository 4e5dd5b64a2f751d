"""The transport's side of a connection: writing, flow control, the deadline and the end."""

import asyncio

from typing_extensions import disjoint_base

from esg_protocols.asgi.context import ServerContext

@disjoint_base
class StreamProtocol:
    """What every protocol on a stream has; an asyncio protocol in all but inheritance."""

    deadline: float
    """When the connection has waited long enough, on the context's clock; 0 is never."""

    def __init__(self, context: ServerContext) -> None: ...
    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport, None before and after the connection."""
    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
    def pause_writing(self) -> None:
        """Called by the transport when the client does not read."""
    def resume_writing(self) -> None:
        """Called by the transport when the client reads again."""
    def tick(self) -> None:
        """Called once a second by the clock."""
    def on_deadline(self) -> None:
        """Called at the first tick behind the deadline."""
    def abort(self) -> None:
        """Drop the connection and what is still to be written."""
