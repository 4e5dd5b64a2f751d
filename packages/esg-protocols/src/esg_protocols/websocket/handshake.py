"""The opening handshake as a server sees it (RFC 6455 section 4.2), on a request head that has been parsed already."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from hashlib import sha1

from esg_protocols.errors import LocalProtocolError, RemoteProtocolError
from esg_protocols.fields import is_token, is_value
from esg_protocols.settings import Settings
from esg_protocols.websocket.extensions import TOKEN, DeflateParameters, Offer, choose_deflate, parse_extensions

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
SUBPROTOCOL = re.compile(TOKEN)

OURS = frozenset(
    (b"connection", b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol")
)
"""Fields of the answer that the handshake decides on."""
NOT_IN_101 = frozenset((b"content-length", b"transfer-encoding"))  # RFC 9110 section 8.6, RFC 9112 section 6.1

Fields = Iterable[Iterable[bytes]]


def is_handshake(method: str, upgrade: bytes | None) -> bool:
    """Whether a request asks for a WebSocket; any other Upgrade may be ignored (RFC 9110 section 7.8).

    Args:
        method: of the request.
        upgrade: its Upgrade field in lower case, if Connection names it: ``RequestHead.upgrade``.
    """
    return method == "GET" and upgrade is not None and b"websocket" in _elements([upgrade])


def accept_key(key: bytes) -> bytes:
    """The ``Sec-WebSocket-Accept`` value for a ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2)."""
    return binascii.b2a_base64(sha1(key + GUID, usedforsecurity=False).digest(), newline=False)


def refusal_fields(status: int) -> bytes:
    """The field lines, with their CRLFs, that must go with a refusal of that status: for 426 the version that is
    spoken here (RFC 6455 section 4.2.2, RFC 9110 section 15.5.22); for others none."""
    if status != 426:
        return b""
    return b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"


class ServerHandshake:
    """A request for a WebSocket that may be accepted, and its answer.

    Args:
        method: of the request.
        http_version: ``"1.1"`` or another.
        headers: names in lower case and values, in pairs, as in ``esg_parser.RequestHead``.
        settings: the deflate settings; the defaults if there are none.

    Attributes:
        subprotocols: what the client offers, in its order of preference.
        offers: the extensions that the client offers, in its order of preference.
        deflate: what is agreed on permessage-deflate, for the codec; None if there is no compression.

    Raises:
        RemoteProtocolError: with the HTTP status that answers it: 426 for another version, otherwise 400.
    """

    subprotocols: list[str]
    offers: list[Offer]
    deflate: DeflateParameters | None

    def __init__(
        self,
        method: str,
        http_version: str,
        headers: Iterable[tuple[bytes, bytes]],
        settings: Settings | None = None,
    ) -> None:
        fields = _by_name(headers)
        _check_request(method, http_version, fields)
        self._key = _one(fields, b"sec-websocket-key")
        if not KEY.fullmatch(self._key):
            raise RemoteProtocolError("Sec-WebSocket-Key must be 16 bytes in base64", 400)
        self.subprotocols = _read_subprotocols(fields)
        self.offers = _read_offers(fields)
        self.deflate = choose_deflate(self.offers, settings or Settings())

    def response_headers(self, subprotocol: str | None = None, headers: Fields = ()) -> list[tuple[bytes, bytes]]:
        """The fields of the ``101 Switching Protocols`` that accepts.

        Args:
            subprotocol: one of those offered, or none.
            headers: other fields, as names and values in pairs.

        Raises:
            LocalProtocolError: the subprotocol was not offered, and the client would have to fail the connection
                (RFC 6455 section 4.1); a field is not for the application to decide; or it must not go on the wire.
        """
        fields = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", accept_key(self._key)),
        ]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise LocalProtocolError(f"subprotocol {subprotocol!r} is not among those offered: {self.subprotocols}")
            fields.append((b"sec-websocket-protocol", subprotocol.encode()))
        if self.deflate is not None:
            fields.append((b"sec-websocket-extensions", self.deflate.to_field()))
        fields += _check_fields(headers)
        return fields

    def send_accept(self, subprotocol: str | None = None, headers: Fields = (), *, defaults: bytes = b"") -> bytes:
        """The whole head of the answer as bytes to write; behind it the codec speaks.

        Args:
            subprotocol: as for :meth:`response_headers`, and so are errors.
            headers: likewise.
            defaults: more whole field lines with their CRLFs, as ``Server`` and ``Date``.
        """
        fields = self.response_headers(subprotocol, headers)
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        return b"HTTP/1.1 101 Switching Protocols\r\n" + lines + defaults + b"\r\n"


# -- Reading the request ---------------------------------------------------------------------------------------------


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)
    return fields


def _check_request(method: str, http_version: str, fields: dict[bytes, list[bytes]]) -> None:
    """RFC 6455 section 4.2.1, points 1 to 4 and 6."""
    if method != "GET":
        raise RemoteProtocolError(f"the method of a WebSocket handshake must be GET, not {method}", 400)
    if http_version in ("0.9", "1.0"):
        raise RemoteProtocolError(f"a WebSocket handshake needs HTTP/1.1, not {http_version}", 400)
    if len(fields.get(b"host", ())) != 1:
        raise RemoteProtocolError("a WebSocket handshake needs one Host field", 400)
    if b"websocket" not in _elements(fields.get(b"upgrade", ())):
        raise RemoteProtocolError("Upgrade must say websocket", 400)
    if b"upgrade" not in _elements(fields.get(b"connection", ())):
        raise RemoteProtocolError("Connection must say Upgrade", 400)
    if fields.get(b"sec-websocket-version") != [b"13"]:
        raise RemoteProtocolError("Sec-WebSocket-Version must be 13", 426)


def _one(fields: dict[bytes, list[bytes]], name: bytes) -> bytes:
    values = fields.get(name, [])
    if len(values) != 1:
        raise RemoteProtocolError(f"{name.decode()} must be there once, not {len(values)} times", 400)
    return values[0]


def _elements(values: Iterable[bytes]) -> Iterator[bytes]:
    """The elements of a list field in lower case, in all its lines (RFC 9110 section 5.6.1)."""
    return (element.strip(b" \t").lower() for value in values for element in value.split(b","))


def _read_subprotocols(fields: dict[bytes, list[bytes]]) -> list[str]:
    """They must be tokens, and all different (RFC 6455 section 4.1, point 10 of the request)."""
    joined = b",".join(fields.get(b"sec-websocket-protocol", ())).decode("latin-1")
    names = [name for name in (element.strip(" \t") for element in joined.split(",")) if name]
    if not all(SUBPROTOCOL.fullmatch(name) for name in names):
        raise RemoteProtocolError(f"Sec-WebSocket-Protocol must be tokens, not {joined!r}", 400)
    if len(set(names)) != len(names):
        raise RemoteProtocolError(f"Sec-WebSocket-Protocol names one twice: {joined!r}", 400)
    return names


def _read_offers(fields: dict[bytes, list[bytes]]) -> list[Offer]:
    values = b",".join(fields.get(b"sec-websocket-extensions", ())).decode("latin-1")
    try:
        return parse_extensions(values)
    except ValueError as error:
        raise RemoteProtocolError(f"Sec-WebSocket-Extensions: {error}", 400) from None


# -- Checking the application's fields -------------------------------------------------------------------------------


def _check_fields(headers: Fields) -> Iterator[tuple[bytes, bytes]]:
    for field in headers:
        try:
            name, value = field
        except (TypeError, ValueError):
            raise LocalProtocolError(f"a header must be a name and a value, not {field!r}") from None
        if type(name) is not bytes or type(value) is not bytes:
            raise LocalProtocolError(f"a header's name and value must be bytes, not {name!r} and {value!r}")
        if not is_token(name) or not is_value(value):
            raise LocalProtocolError(f"a header with a character that may not go on the wire: {name!r}: {value!r}")
        if name.lower() in OURS or name.lower() in NOT_IN_101:
            raise LocalProtocolError(f"{name!r} is not for the application to send when it accepts a WebSocket")
        yield name, value
