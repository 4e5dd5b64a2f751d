"""What a parser returns: plain tuples with names, and one marker for the end."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class RequestHead(NamedTuple):
    """The head of a request: its request line, header fields and framing (RFC 9112 sections 2 to 6)."""

    method: str
    """The method as sent, for example ``"GET"``."""
    path: str
    """The path of the target, percent-decoded as UTF-8; ``"*"`` in asterisk-form, empty in authority-form."""
    raw_path: bytes
    """The path as sent."""
    query_string: bytes
    """What follows the first ``?`` of the target, as sent; empty without one."""
    http_version: str
    """``"1.0"`` or ``"1.1"``; a higher minor version counts as 1.1 (RFC 9110 section 2.5)."""
    headers: list[tuple[bytes, bytes]]
    """Names in lower case and values without the whitespace round them, in the order they were sent."""
    target: bytes
    """The request target as sent (RFC 9112 section 3.2)."""
    authority: bytes | None
    """``host[:port]`` of a target in absolute-form or authority-form; it stands in for Host (RFC 9112 3.2.2)."""
    upgrade: bytes | None
    """The Upgrade field in lower case when the request asks to switch protocols (RFC 9110 section 7.8)."""
    content_length: int | None
    """The number of body bytes when Content-Length tells it."""
    chunked: bool
    """Whether the body is chunked."""
    keep_alive: bool
    """Whether the client lets the connection go on after the exchange (RFC 9112 section 9.3)."""
    expect_continue: bool
    """Whether the client waits for ``100 Continue`` before it sends the body (RFC 9110 section 10.1.1)."""


class ResponseHead(NamedTuple):
    """The head of a response: its status line, header fields and framing (RFC 9112 sections 4 to 6)."""

    status: int
    """The status code, from 100 to 999; below 200 the response is an interim one and another follows."""
    reason: bytes
    """The reason phrase as sent, without meaning; often empty."""
    http_version: str
    """``"1.0"`` or ``"1.1"``; a higher minor version counts as 1.1 (RFC 9110 section 2.5)."""
    headers: list[tuple[bytes, bytes]]
    """Names in lower case and values without the whitespace round them, in the order they were sent."""
    upgrade: bytes | None
    """The Upgrade field in lower case: with 101 the protocol that follows, else what is offered (RFC 9110 7.8)."""
    content_length: int | None
    """What Content-Length says; a response to HEAD and a 304 have no body all the same."""
    chunked: bool
    """Whether Transfer-Encoding says chunked."""
    keep_alive: bool
    """Whether the server lets the connection go on behind this response (RFC 9112 section 9.3)."""


class Trailers(NamedTuple):
    """The trailer fields behind a chunked body (RFC 9112 section 7.1.2); never merged into the header fields."""

    headers: list[tuple[bytes, bytes]]
    """Names in lower case and values, in the order they were sent."""


class Marker(Enum):
    """Events that carry nothing."""

    END = "END"
    """The message is whole."""
    UPGRADE = "UPGRADE"
    """The request asks for another protocol, by Upgrade or CONNECT, or the response goes over to it; before END."""

    def __repr__(self) -> str:
        return self.name


END: Final = Marker.END
UPGRADE: Final = Marker.UPGRADE
