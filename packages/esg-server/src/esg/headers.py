"""The fields of every response that an operator asks for: ``--header Name:Value``."""

from __future__ import annotations

from collections.abc import Iterable

from esg_protocols.fields import is_token, is_value

# How the message is framed and the connection used is the server's part.
OURS = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


def read_headers(lines: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Names, in lower case as an application would write them, and values.

    Args:
        lines: each ``Name:Value``, with or without blanks around the value.

    Raises:
        ValueError: naming one that may not be sent, and why.
    """
    return [_read_header(line) for line in lines]


def check_headers(lines: Iterable[str]) -> None:
    """Raises ``ValueError`` for what :func:`read_headers` cannot take."""
    read_headers(lines)


def _read_header(line: str) -> tuple[bytes, bytes]:
    if not isinstance(line, str):
        raise ValueError(f"{line!r} is not a str, write it as 'X-Name:value'")
    name, colon, value = line.partition(":")
    name, value = name.lower(), value.strip(" \t")
    if not colon or not name.isascii() or not is_token(name.encode()):
        raise ValueError(f"{line!r} is no header, write it as 'X-Name:value'")
    if name in OURS:
        raise ValueError(f"{line!r} is not for you to set: the server frames its messages itself")
    if name == "date":
        raise ValueError(f"{line!r} would be wrong in a moment; --no-date-header leaves the server's out")
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"{line!r} has a character that headers cannot have, they are in Latin-1") from None
    if not is_value(encoded):
        raise ValueError(f"{line!r} has a control character")
    return name.encode(), encoded
