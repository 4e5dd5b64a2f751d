"""Whom a proxy speaks for: ``X-Forwarded-*`` or ``Forwarded`` (RFC 7239), from peers that are trusted and no others.

What a trusted proxy adds stands to the right of what it was sent, so lists are read from there, up to the first
address that is not trusted: nothing beyond it is even looked at. What cannot be read is never guessed.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

logger = logging.getLogger("esg.error")

Scope = dict[str, Any]
Address = tuple[str, int]
Fields = tuple[tuple[bytes, bytes], ...]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_ALLOW = "127.0.0.1,::1,unix"
"""This machine: who may connect to a port of the loopback interface, or to a UNIX socket."""

X_FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host")
FORWARDED = "forwarded"

# More proxies than anybody has in a row, and more bytes than they have to say.
MOST_HOPS = 32
MOST_BYTES = 4096
# Of how much that was read the outcome is kept, and up to which size each.
KEPT = 4096
MOST_KEPT_BYTES = 256

SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}

# [IPv6] or IPv4, with a port (RFC 7239 section 6; also an obfuscated one) or without, or an IPv6 address by itself.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[\w.-]+))?|([0-9A-Fa-f:.]+)", re.ASCII)
_PORT = re.compile("[0-9]{1,5}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|[\w.~-]+)(?::([0-9]{1,5}))?", re.ASCII)
_IDENTIFIER = re.compile(r"_[\w.-]+", re.ASCII)
# forwarded-pair (RFC 7239 section 4), and blanks behind it, which it does not allow but which harm nobody.
_PAIR = re.compile(
    r"""([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~-]+)|"((?:[^"\\]|\\.)*)")[ \t]*(?=[;,]|\Z)""",
    re.ASCII,
)
_SEPARATORS = (";", ",", " ", "\t")


# -- Who is trusted --------------------------------------------------------------------------------------------------


class TrustedPeers:
    """The peers that are trusted to speak for others.

    Args:
        allow: addresses, networks, ``unix`` for everybody on a UNIX socket, paths of UNIX sockets, identifiers of
            proxies that call themselves ``_name``, or ``*`` for everybody; with commas between them.

    Raises:
        ValueError: naming what is none of these.
    """

    def __init__(self, allow: str) -> None:
        self.everybody = False
        self._words: set[str] = set()
        self._networks: list[Network] = []
        for item in allow.split(","):
            if item.strip():
                self._add(item.strip())
        self.has_address = functools.lru_cache(KEPT)(self._has_address)
        # Asked for every connection, and hosts connect more than once.
        self._has_host_again = functools.lru_cache(KEPT)(self._has_host)

    def has_peer(self, client: tuple[str, int | None] | None, server: tuple[str, int | None] | None) -> bool:
        """Whether the peer of a connection is one of them."""
        if self.everybody:
            return True
        if client is not None:
            return self._has_host_again(client[0])
        # No address at either end but a path at ours: a UNIX socket.
        return server is not None and server[1] is None and ("unix" in self._words or server[0] in self._words)

    def has_node(self, text: str, address: Address | None) -> bool:
        """Whether a node that a proxy names, as written and as read, is one of them."""
        if address is not None:
            return self.has_address(address[0])
        # nginx calls its clients on a UNIX socket so.
        return text in self._words and text[:1] == "_" or text == "unix:" and "unix" in self._words

    def _add(self, item: str) -> None:
        if item == "*":
            self.everybody = True
        elif item == "unix" or item[0] in "/@" or _IDENTIFIER.fullmatch(item):
            self._words.add("\0" + item[1:] if item[0] == "@" else item)
        else:
            self._networks.append(_read_network(item))

    def _has_host(self, name: str) -> bool:
        address = _read_address(name.partition("%")[0])
        return address is not None and self.has_address(address)

    def _has_address(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        return self.everybody or any(address in network for network in self._networks)


def _read_network(item: str) -> Network:
    try:
        return ipaddress.ip_network(item)
    except ValueError:
        pass
    try:
        near = ipaddress.ip_network(item, strict=False)
    except ValueError:
        what = "an address, a network as 10.0.0.0/8, unix, the path of a UNIX socket, or *"
        raise ValueError(f"{item!r} is not {what}") from None
    raise ValueError(f"{item!r} is one address of a network, which is {str(near)!r}")


def check_allow(allow: str) -> None:
    """Raises ``ValueError`` for what :class:`TrustedPeers` cannot take."""
    TrustedPeers(allow)


# -- What they say ---------------------------------------------------------------------------------------------------


def read_fields(names: str) -> tuple[str, ...]:
    """The names of the fields that proxies set, in lower case.

    Raises:
        ValueError: for another field, and for both ``Forwarded`` and others: where they disagreed, nobody could tell
            which of them the proxy had set and which had come from its client.
    """
    found = tuple(name.strip().lower() for name in names.split(",") if name.strip())
    for name in found:
        if name not in (*X_FORWARDED, FORWARDED):
            raise ValueError(f"{name!r} is not one of {', '.join((*X_FORWARDED, FORWARDED))}")
    if FORWARDED in found and len(found) > 1:
        raise ValueError("proxies set Forwarded or X-Forwarded fields: name those that yours set, not both")
    return found


def check_fields(names: str) -> None:
    """Raises ``ValueError`` for what :func:`read_fields` cannot take."""
    read_fields(names)


class Told(NamedTuple):
    """What proxies tell of a request; None is nothing, or nothing that can be believed."""

    names_client: bool
    client: Address | None
    scheme: str | None
    port: int | None
    host: bytes | None


class Forwarding:
    """What a server asks about its peers: the ``forwarded`` of its ``ServerContext``.

    Args:
        allow: who is trusted, as for :class:`TrustedPeers`.
        fields: what trusted proxies set, as for :func:`read_fields`; other fields are left to the application.
    """

    def __init__(self, allow: str, fields: str) -> None:
        self.peers = TrustedPeers(allow)
        self.fields = frozenset(name.encode() for name in read_fields(fields))
        self._read = self._read_forwarded if FORWARDED.encode() in self.fields else self._read_x_forwarded
        # Clients come more than once.
        self._read_again = functools.lru_cache(KEPT)(self._read)

    def __call__(
        self, client: tuple[str, int | None] | None, server: tuple[str, int | None] | None
    ) -> Callable[[Scope], None] | None:
        return self.apply if self.peers.has_peer(client, server) else None

    def apply(self, scope: Scope) -> None:
        """Change a new scope by what the fields of its request say; its list of fields stays as it is."""
        fields = tuple([field for field in scope["headers"] if field[0] in self.fields])
        if not fields:
            return
        size = sum([len(value) for _, value in fields])
        told = self._read_again(fields) if size <= MOST_KEPT_BYTES else self._read(fields)
        if told.names_client:
            scope["client"] = told.client
        if told.scheme is not None:
            scope["scheme"] = told.scheme
        server = scope["server"]
        if told.port is not None and server is not None and server[1] is not None:
            scope["server"] = (server[0], told.port)
        if told.host is not None:
            # The field that frameworks make URLs of. The connection has the list too, and goes on with it.
            others = [field for field in scope["headers"] if field[0] != b"host"]
            scope["headers"] = [(b"host", told.host), *others]

    def _read_x_forwarded(self, fields: Fields) -> Told:
        said: dict[bytes, list[str]] = {}
        for name, value in fields:
            said.setdefault(name, []).append(value.decode("latin-1"))
        clients = ",".join(said.get(b"x-forwarded-for", ())).strip(", \t")
        return Told(
            clients != "",
            self._find_client(clients) if clients else None,
            _scheme(_agreed(said, b"x-forwarded-proto")),
            _port(_agreed(said, b"x-forwarded-port")),
            _host(_agreed(said, b"x-forwarded-host")),
        )

    def _find_client(self, text: str) -> Address | None:
        if self.peers.everybody:
            # The first of them, whoever wrote it.
            return _read_node(text.partition(",")[0].strip(" \t"))
        address = None
        for part in reversed(text.rsplit(",", MOST_HOPS)):
            node = part.strip(" \t")
            if node:
                address = _read_node(node)
                if not self.peers.has_node(node, address):
                    break
        return address

    def _read_forwarded(self, fields: Fields) -> Told:
        named, client = False, None
        element: dict[str, str] = {}
        try:
            for element in _elements([value.decode("latin-1") for _, value in fields]):
                node = element.get("for")
                if node is None:
                    break
                named, client = True, _read_node(node)
                if not self.peers.everybody and not self.peers.has_node(node, client):
                    break
        except ValueError as error:
            logger.debug("Forwarded cannot be read: %s", error)
            return Told(True, None, None, None, None)
        # Scheme and host are those that the client used, whoever that is, when it connected to this proxy.
        return Told(named, client, _scheme(element.get("proto", "")), None, _host(element.get("host", "")))


def _read_node(text: str) -> Address | None:
    """The address of a node, with port 0 if there is none; None for ``unknown``, identifiers, and what is malformed."""
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    bracketed, dotted, port, bare = match.groups()
    address = _read_address(bracketed or dotted or bare)
    if address is None or bracketed and ":" not in bracketed or int(port or 0) > 65535:
        return None
    return address, int(port or 0)


def _read_address(text: str) -> str | None:
    """An address in its usual form, an IPv4 one never as IPv6; None if it is none."""
    return _normal_address(text) if len(text) <= 45 else None  # the longest there is


@functools.lru_cache(KEPT)
def _normal_address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _agreed(said: dict[bytes, list[str]], name: bytes) -> str:
    """What all fields of a name, and all parts of each, say; nothing if they differ."""
    if name not in said:
        return ""
    text = ",".join(said[name])
    parts = {part.strip(" \t").lower() for part in text[:MOST_BYTES].split(",")} - {""}
    if len(parts) == 1 and len(text) <= MOST_BYTES:
        return parts.pop()
    if parts:
        logger.debug("%s says more than one thing, and is ignored: %r", name.decode(), text[:MOST_BYTES])
    return ""


def _scheme(text: str) -> str | None:
    return SCHEMES.get(text.lower())


def _port(text: str) -> int | None:
    return int(text) if _PORT.fullmatch(text) and 0 < int(text) <= 65535 else None


def _host(text: str) -> bytes | None:
    match = _HOST.fullmatch(text)
    if match is None or match[1] and _read_address(match[1]) is None or int(match[2] or 0) > 65535:
        return None
    return text.lower().encode()


# -- Forwarded (RFC 7239 section 4) ----------------------------------------------------------------------------------


def _elements(values: list[str]) -> Iterator[dict[str, str]]:
    """The elements in all lines of the field, the last one first; a line is read when it is its turn.

    Raises:
        ValueError: when a line cannot be read, or there is too much of it.
    """
    if sum(map(len, values)) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    return (element for line in reversed(values) for element in _read_line(line))


def _read_line(line: str) -> Iterable[dict[str, str]]:
    elements: list[dict[str, str]] = [{}]
    line = line.strip(";, \t")
    at = 0
    while at < len(line):
        pair = _PAIR.match(line, at)
        if pair is None:
            raise ValueError(f"{line!r}, at {line[at:]!r}")
        _add_pair(elements[-1], pair)
        at = pair.end()
        while line[at : at + 1] in _SEPARATORS:
            if line[at] == "," and elements[-1]:
                elements.append({})
            at += 1
        if len(elements) > MOST_HOPS:
            raise ValueError(f"it has more than {MOST_HOPS} elements")
    return reversed(elements) if line else ()


def _add_pair(element: dict[str, str], pair: re.Match[str]) -> None:
    name, token, quoted = pair[1].lower(), pair[2], pair[3]
    if name in element:
        raise ValueError(f"{name!r} stands twice in one element")
    element[name] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
