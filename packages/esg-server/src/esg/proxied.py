"""What a server makes of a new connection: HTTP at once, or behind a PROXY header, which comes before TLS too."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any, cast

from esg_protocols.asgi import HTTPProtocol, ProxiedProtocol, ServerContext
from esg_protocols.asgi.proxied import ENDED, UNTRUSTED, note_lateness, note_refusal
from esg_protocols.errors import RemoteProtocolError
from esg_protocols.proxy_header import ProxyHeader, ProxyHeaderParser

from esg.config import Config
from esg.proxy import TrustedPeers

Factory = Callable[[], asyncio.Protocol]

# Bytes that are looked at in one go.
PEEKED = 4096


def make_factory(config: Config, context: ServerContext) -> Factory:
    """What makes a protocol for each connection, as far as TLS has not taken care of the PROXY header below it.

    They are asyncio protocols in all but inheritance, which a compiled class cannot have.
    """
    if not config.proxy_protocol or config.is_ssl:
        return cast("Factory", functools.partial(HTTPProtocol, context))
    peers = TrustedPeers(config.proxy_protocol_from)
    return cast("Factory", functools.partial(ProxiedProtocol, context, peers.has_peer))


class HeaderReader:
    """Reads PROXY headers from accepted sockets on which TLS is to begin, and not a byte more.

    Args:
        config: who may send them, and how long that may take.
        context: what the connections will share.
    """

    def __init__(self, config: Config, context: ServerContext) -> None:
        self._peers = TrustedPeers(config.proxy_protocol_from)
        self._patience = config.timeout_request_head or None
        self._context = context

    async def read(self, connection: socket.socket) -> Factory | None:
        """What makes the protocol of this connection, or None where there is to be none: then it is closed."""
        client: Any = None
        header = None
        try:
            client, server = _address(connection.getpeername()), _address(connection.getsockname())
            if self._peers.has_peer(client, server):
                header = await asyncio.wait_for(_read_header(connection), self._patience)
                return cast("Factory", functools.partial(HTTPProtocol, self._context, header))
            note_refusal(self._context, client, UNTRUSTED)
        except RemoteProtocolError as error:
            note_refusal(self._context, client, str(error))
        except asyncio.TimeoutError:
            note_lateness(self._context, client)
        except EOFError:
            note_refusal(self._context, client, ENDED)
        except OSError:  # it is gone
            pass
        finally:
            if header is None:
                connection.close()
        return None


async def _read_header(connection: socket.socket) -> ProxyHeader:
    """The bytes behind it stay in the system's buffer: a handshake finds them there."""
    parser = ProxyHeaderParser()
    while True:
        await _until_readable(connection)
        data = connection.recv(PEEKED, socket.MSG_PEEK)
        if not data and parser.begun:
            raise EOFError
        if not data:
            raise ConnectionResetError("it only looked whether somebody listens")
        header = parser.receive_data(data)
        connection.recv(len(data) - len(parser.trailing_data))
        if header is not None:
            return header


async def _until_readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(connection, _wake, readable)
    try:
        await readable
    finally:
        loop.remove_reader(connection)


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _address(name: Any) -> Any:
    """As scopes have it."""
    return name[:2] if isinstance(name, tuple) else (name, None) if name else None
