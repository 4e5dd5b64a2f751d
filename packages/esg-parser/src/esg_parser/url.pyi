"""URLs cut into their parts."""

from typing import NamedTuple

class InvalidURL(ValueError):
    """The bytes are no URL, or a longer one than can be parsed."""

class URL(NamedTuple):
    """The parts of a URL as sent (RFC 3986 section 3): nothing is decoded, and what is not there is None."""

    schema: bytes | None
    """The scheme, for example ``b"https"``, in the letters that were sent."""
    host: bytes | None
    """The host; an IPv6 address without its brackets."""
    port: int | None
    """The port as a number up to 65535, only if it is written."""
    path: bytes | None
    """The path; None if it is empty."""
    query: bytes | None
    """What is between ``?`` and ``#``."""
    fragment: bytes | None
    """What is behind ``#``."""
    userinfo: bytes | None
    """What is before ``@`` in the authority."""

def parse_url(url: bytes, *, connect: bool = False) -> URL:
    """Cut a URL, or a request target of any of the four forms, into its parts with http-parser.

    It takes what http-parser takes: an absolute URL with a host (absolute-form), an absolute path with or
    without a query (origin-form), ``*`` (asterisk-form), and with ``connect`` nothing but ``host:port``
    (authority-form; RFC 9112 section 3.2). That is less than RFC 3986 allows (no underscore in a host, no
    empty port) and a little more (some ASCII that a URI must encode).

    Args:
        url: at most 65535 bytes.
        connect: whether it is the target of a CONNECT.

    Returns:
        The parts as slices of ``url``.

    Raises:
        InvalidURL: if it is not a URL in this sense, or too long.
        TypeError: if it is not ``bytes``.
    """
