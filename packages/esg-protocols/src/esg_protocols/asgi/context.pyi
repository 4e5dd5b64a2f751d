"""What a server lends its connections: the app, its state, the settings, counters, the time."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

from typing_extensions import disjoint_base

from esg_protocols.asgi.http import HTTPProtocol
from esg_protocols.settings import Settings

@disjoint_base
class Counters:
    """What has happened on the connections of one context; the numbers only grow."""

    connections: int
    """Connections that were made."""
    requests: int
    """Requests whose head was read."""
    protocol_errors: int
    """Requests that were refused because they broke a rule."""
    app_errors: int
    """Calls of the app that ended in an exception, apart from those whose client had left."""
    head_timeouts: int
    """Connections that ended because a request head, or the first byte at all, took too long."""
    body_timeouts: int
    """Requests that were refused because their body stalled or came too slowly."""
    keep_alive_timeouts: int
    """Connections that ended because no next request came."""
    write_timeouts: int
    """Connections that were dropped because the client did not take its response."""
    request_timeouts: int
    """Requests that took longer than they may, whoever was to blame."""
    overloads: int
    """Requests that were refused because there was too much to do."""

@disjoint_base
class ServerContext:
    """What the connections of one server share. It belongs to one event loop.

    Make it where the context variables are that every request shall see, as set by a lifespan: each request
    runs in a copy of the context of this call, so that nothing leaks from one to another.

    Args:
        app: an ASGI 3 application: a callable that takes scope, receive and send and returns an awaitable.
        settings: limits and times.
        loop: the event loop that the connections run on.
        state: the lifespan's state, of which every scope gets a shallow copy; without one scopes have none.
        access_logger: takes a record for every response; without one there are none. The arguments of a record
            are the client's address, method, path with query, HTTP version and status.
        error_logger: for what goes wrong; ``esg.error`` if there is none.
        server_name: what the default ``Server`` field says.
    """

    def __init__(
        self,
        app: Any,
        settings: Settings,
        *,
        loop: asyncio.AbstractEventLoop,
        state: dict[str, Any] | None = None,
        access_logger: logging.Logger | None = None,
        error_logger: logging.Logger | None = None,
        server_name: bytes = b"esg",
    ) -> None: ...
    @property
    def app(self) -> Any:
        """The application."""

    @property
    def settings(self) -> Settings:
        """Limits and times; connections read them when they are made."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""

    @property
    def context(self) -> Context:
        """The context variables that every request starts with."""

    @property
    def counters(self) -> Counters:
        """What has happened so far."""

    @property
    def error_logger(self) -> logging.Logger:
        """Where errors go."""

    @property
    def access_logger(self) -> logging.Logger | None:
        """Where responses are noted."""

    @property
    def server_line(self) -> bytes:
        """The default ``Server`` field line; empty when it is switched off."""

    @property
    def connections(self) -> set[HTTPProtocol]:
        """The connections that are open. Not to be changed."""

    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks of apps that did not end in their first step. Not to be changed."""
    state: dict[str, Any] | None
    """The lifespan's state."""
    closing: bool
    """Set it when the server stops: connections made from then on are closed at once."""
    on_empty: Callable[[], object] | None
    """Called whenever the last connection or task has gone and none of either is left."""
    requests_wanted: int
    """How many requests to wait for; see ``on_requests``."""
    on_requests: Callable[[], object] | None
    """Called when as many requests have begun as ``requests_wanted`` says."""
    now: float
    """Seconds on the clock's time, as of its last tick. Set by the clock."""
    date_line: bytes
    """The default ``Date`` field line; empty before the first tick or when it is switched off. Set by the clock."""
