"""The transport's side of a connection: writing, flow control, the deadline and the end."""

import asyncio

from typing_extensions import disjoint_base

from esg_protocols.asgi.context import ServerContext

@disjoint_base
class StreamProtocol:
    """What every protocol on an asyncio transport has in common; it takes the calls of :class:`asyncio.Protocol`.

    Args:
        context: what the server lends its connections.
    """

    def __init__(self, context: ServerContext) -> None: ...
    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport while the connection is open, otherwise None."""
    deadline: float
    """When the connection has waited long enough, in seconds on the clock's time; 0 is never."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The transport is there. The connection is noted in the context."""

    def connection_lost(self, error: Exception | None) -> None:
        """The transport is gone. Whoever waits to write is woken."""

    def pause_writing(self) -> None:
        """The transport's buffer is full: from here on apps wait in ``send``."""

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""

    def tick(self) -> None:
        """Hold the deadline against the time; the clock calls it every second."""

    def on_deadline(self) -> None:
        """The deadline has come: drop the connection. Protocols that know better do that."""

    def on_write_deadline(self) -> None:
        """The client did not take what was written in time: drop the connection."""

    def abort(self) -> None:
        """Drop the connection, and of what is written that which the system has not taken. Harmless when it is over."""

    def reset(self) -> None:
        """Drop the connection so that a TCP client sees a reset, not an end. Harmless when it is over."""

@disjoint_base
class Round:
    """What connections have to do when the loop has read from every one: applications run, answers leave.

    Args:
        context: whose connections they are.
    """

    def __init__(self, context: ServerContext) -> None: ...
    def run(self) -> None:
        """Let it all be done. The loop calls it."""
