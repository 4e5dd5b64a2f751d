"""Listening addresses: bound here, handed to the event loop later."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from typing import Any

from esg.config import StartupError

_REASONS = {
    errno.EADDRINUSE: "another program is using it; stop that one or choose another port",
    errno.EACCES: "this user may not bind it; choose a port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind one TCP socket for each address of ``host``; none of them listens yet.

    Args:
        host: an address, a name, or ``""`` for every interface.
        port: 0 for a free one, the same for all addresses.

    Raises:
        StartupError: naming the address and what is wrong with it.
    """
    bound: list[socket.socket] = []
    try:
        addresses = _resolve(host, port)
        for family, address in addresses:
            # A port of 0 was chosen with the first socket; a host's other addresses share it.
            chosen = bound[0].getsockname()[1] if bound else port
            sock = _bind_one(family, (address[0], chosen, *address[2:]), alone=len(addresses) == 1)
            if sock is not None:
                bound.append(sock)
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, "")
    except OSError as error:
        close(bound)
        raise cannot_listen(display(host, port), error) from None
    return bound


def close(sockets: list[socket.socket]) -> None:
    """Close sockets that nothing serves any more."""
    for sock in sockets:
        sock.close()


def cannot_listen(place: str, error: OSError) -> StartupError:
    """The one line for a socket that would not bind or listen."""
    reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return StartupError(f"Cannot listen on {place}: {reason}")


def display(host: str, port: int) -> str:
    """``host:port`` as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def place(sock: socket.socket) -> str:
    """Where a socket is bound, for messages."""
    name = sock.getsockname()
    return display(*name[:2]) if isinstance(name, tuple) else f"unix:{name}"


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name can come back twice (as in a careless hosts file); a dict keeps the resolver's order.
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind_one(family: socket.AddressFamily, address: tuple[Any, ...], *, alone: bool) -> socket.socket | None:
    """One bound socket, or ``None`` where one address of several belongs to a family this machine lacks."""
    with contextlib.ExitStack() as undo:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            undo.callback(sock.close)
            _set_options(sock, family, alone)
            sock.bind(address)
        except OSError as error:
            if alone or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return None
        undo.pop_all()
    return sock


def _set_options(sock: socket.socket, family: socket.AddressFamily, alone: bool) -> None:
    sock.setblocking(False)
    if os.name == "posix" and sys.platform != "cygwin":
        # Elsewhere the option lets a second program take over a port in use.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # "::" alone serves IPv4 as well; beside a socket for 0.0.0.0 it must not.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if alone else 1)
