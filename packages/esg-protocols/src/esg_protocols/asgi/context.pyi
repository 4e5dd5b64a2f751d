"""What a server lends its connections: the app, its state, the settings, counters, the time."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any

from typing_extensions import disjoint_base

from esg_protocols.asgi.access import AccessLog
from esg_protocols.asgi.http import HTTPProtocol
from esg_protocols.asgi.proxied import ProxiedProtocol
from esg_protocols.asgi.request_ids import RequestIds
from esg_protocols.asgi.tls import ServerCert
from esg_protocols.asgi.websocket import WebSocketProtocol
from esg_protocols.settings import Settings

_Address = tuple[str, int | None]
"""As scopes have it; on a UNIX socket the path of the server, and no port."""
_Forwarded = Callable[[_Address | None, _Address | None], Callable[[dict[str, Any]], object] | None]

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
    head_limits: int
    """Requests whose head, or whose chunk lines and trailers, were larger than they may be, or had too many fields."""
    target_limits: int
    """Requests whose target was longer than it may be."""
    body_limits: int
    """Requests whose body was larger than it may be."""
    connection_limits: int
    """Connections that had as many requests as they may."""
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
    ping_timeouts: int
    """WebSockets that were closed because a ping was not answered."""
    handshake_failures: int
    """TLS handshakes that failed. The server counts them: such connections never come here."""
    handshake_timeouts: int
    """TLS handshakes that took too long."""
    websockets: int
    """WebSockets that were accepted."""
    websocket_denials: int
    """WebSockets that the app, or the server in its place, denied."""
    messages_received: int
    """WebSocket messages that came."""
    messages_sent: int
    """WebSocket messages that apps sent."""
    message_bytes_received: int
    """Bytes that came on WebSockets, with their framing."""
    message_bytes_sent: int
    """Bytes of the messages that apps sent, with their framing."""

    @property
    def close_codes(self) -> dict[int, int]:
        """How many WebSockets were closed with which code by the side that closed first; 1006 is the lost ones."""

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
        access_logger: takes a record for every response. Without one, and without ``access_log``, there are none. The
            arguments of a record are the client's address, method, path with query, HTTP version and status.
        access_log: notes responses, in records or in lines of its own.
        error_logger: for what goes wrong; ``esg.error`` if there is none.
        server_name: what the default ``Server`` field says.
        server_cert: the certificate that TLS connections show, as PEM, for the ``tls`` extension of their scopes; or
            what tells it, asked with a connection's context.
        headers: fields for every response beside those that the app sends, names in lower case; they are taken as
            they are. One called ``server`` replaces the default, and is left out where the app has its own.
        forwarded: asked once for each connection, with the peer's address and the address that was connected to, as
            scopes have them. What it returns is called with the new scope of every request in which ``Forwarded`` or
            an ``X-Forwarded-`` field stands, and may change its ``client``, ``server`` and ``headers`` (for another
            list) and its ``scheme``, ``http`` or ``https`` even for WebSockets. None: the peer is not trusted.

    Raises:
        ImportError: the library for the setting ``ws`` is not installed.
    """

    def __init__(
        self,
        app: Any,
        settings: Settings,
        *,
        loop: asyncio.AbstractEventLoop,
        state: dict[str, Any] | None = None,
        access_logger: logging.Logger | None = None,
        access_log: AccessLog | None = None,
        error_logger: logging.Logger | None = None,
        server_name: bytes = b"esg",
        server_cert: ServerCert = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        forwarded: _Forwarded | None = None,
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
    def request_ids(self) -> RequestIds | None:
        """What gives each request an id, as ``request_id_header`` asks."""

    @property
    def access_log(self) -> AccessLog | None:
        """Where responses are noted."""

    @property
    def server_line(self) -> bytes:
        """The default ``Server`` field line; empty when it is switched off."""

    @property
    def default_lines(self) -> bytes:
        """The field lines of every response."""

    @property
    def server_cert(self) -> ServerCert:
        """The certificate that TLS connections show, as PEM, or what tells it."""

    @property
    def connections(self) -> set[HTTPProtocol | ProxiedProtocol | WebSocketProtocol]:
        """The connections that are open. Not to be changed."""

    @property
    def tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks of apps that did not end in their first step. Not to be changed."""
    state: dict[str, Any] | None
    """The lifespan's state."""
    closing: bool
    """Set it when the server stops: connections made from then on are closed at once."""
    draining: bool
    """Set it when the server is about to stop: it answers that it is not ready, and ends connections behind their
    responses, but takes new ones."""
    replaced: bool
    """Set it besides ``draining`` when another server goes on in the place of this one: it does not say that it is not
    ready then, as that would be heard as of both."""
    on_empty: Callable[[], object] | None
    """Called whenever the last connection or task has gone and none of either is left."""
    requests_wanted: int
    """How many requests to wait for; see ``on_requests``."""
    on_requests: Callable[[], object] | None
    """Called when as many requests have begun as ``requests_wanted`` says."""
    longest_round: float
    """Seconds that an answer waits for applications that run behind its own, to leave together with theirs; 0.002
    unless you set it."""
    now: float
    """Seconds on the clock's time, as of its last tick. Set by the clock."""
    date_line: bytes
    """The default ``Date`` field line; empty before the first tick or when it is switched off. Set by the clock."""
