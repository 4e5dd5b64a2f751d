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


class Trailers(NamedTuple):
    """The trailer fields behind a chunked body (RFC 9112 section 7.1.2); never merged into the header fields."""

    headers: list[tuple[bytes, bytes]]
    """Names in lower case and values, in the order they were sent."""


class Marker(Enum):
    """Events that carry nothing."""

    END = "END"
    """The message is whole."""

    def __repr__(self) -> str:
        return self.name


END: Final = Marker.END
