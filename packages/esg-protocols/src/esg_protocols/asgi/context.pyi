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
    """What has happened so far, over all connections of a context."""

    connections: int
    """Connections accepted."""
    requests: int
    """Requests whose head was whole."""
    protocol_errors: int
    """Connections that ended because the client broke a rule."""
    app_errors: int
    """Exceptions that came out of the application."""

@disjoint_base
class ServerContext:
    """Shared by all connections of one server process.

    Args:
        app: an ASGI 3 application.
        settings: limits, timeouts and default headers.
        loop: the event loop that the connections run on.
        state: the state of the lifespan, copied into every scope; None leaves it out.
        access_logger: gets one INFO record for each response; None logs none.
        error_logger: ``esg.error`` by default.
        server_name: the value of the default Server field.

    Every request runs in a copy of the context (:mod:`contextvars`) in which this is made.
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
        """Limits, timeouts and default headers."""
    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
    @property
    def context(self) -> Context:
        """What each request's context is a copy of."""
    @property
    def counters(self) -> Counters:
        """What has happened so far."""
    @property
    def error_logger(self) -> logging.Logger:
        """Where errors of the application and of clients go."""
    @property
    def access_logger(self) -> logging.Logger | None:
        """Where a line for each response goes."""
    @property
    def server_line(self) -> bytes:
        """The default Server field, whole."""
    @property
    def connections(self) -> set[HTTPProtocol]:
        """Connections that are open."""
    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        """Applications that are running."""
    state: dict[str, Any] | None
    """The state of the lifespan."""
    closing: bool
    """True while the server shuts down: new connections are closed at once."""
    on_empty: Callable[[], None] | None
    """Called when the last connection has gone and the last application has ended."""
    now: float
    """Seconds on the loop's clock, as of the last tick."""
    date_line: bytes
    """The default Date field, whole, as of the last tick; empty without one."""
