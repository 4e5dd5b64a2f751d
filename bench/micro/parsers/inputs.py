"""What the parsers are fed: four messages as they come from a socket, and what each has to become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

READ = 64 * 1024  # what asyncio reads at most, and uvloop too


class Usable(NamedTuple):
    """What an application needs of a request. The body is in pieces, as a server hands it on."""

    method: str
    path: str  # percent-decoded
    query: bytes
    headers: list[tuple[bytes, bytes]]  # names in lower case
    body: list[bytes]


@dataclass(frozen=True, eq=False)
class Input:
    """A message, the reads it comes in, and what a parser has to make of it."""

    name: str
    reads: tuple[bytes, ...]
    expected: Usable  # with the body in one piece

    def is_met_by(self, found: tuple[Any, ...]) -> bool:
        """Whether this is the request, however its body is cut."""
        method, path, query, headers, body = found
        whole = Usable(method, path, query, headers, [b"".join(body)])
        # Compared as text: a list is no tuple then, and no bytearray is bytes.
        return repr(whole) == repr(self.expected) and {type(piece) for piece in body} <= {bytes}


def _cut(message: bytes) -> tuple[bytes, ...]:
    return tuple(message[at : at + READ] for at in range(0, len(message), READ))


def _input(name: str, head: str, body: bytes, wire: bytes, path: str, query: bytes = b"") -> Input:
    lines = head.splitlines()
    pairs = [line.encode().split(b": ", 1) for line in lines[1:]]
    headers = [(field.lower(), value) for field, value in pairs]
    message = "\r\n".join([*lines, "", ""]).encode() + wire
    return Input(name, _cut(message), Usable(lines[0].split()[0], path, query, headers, [body]))


def _chunked(body: bytes, size: int) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


SMALL = """\
GET /items/42?full=1 HTTP/1.1
Host: api.example.com
User-Agent: curl/8.5.0
Accept: */*"""

BROWSER = """\
GET /shop/garden/chairs?sort=price&page=2 HTTP/1.1
Host: www.example.com
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Accept-Encoding: gzip, deflate, br, zstd
Connection: keep-alive
Referer: https://www.example.com/shop/garden?from=home
Cookie: session=6f1ed002ab5595859014ebf0951522d9; theme=dark; consent=a.b.c; _ga=GA1.2.1234567890.1700000000
Upgrade-Insecure-Requests: 1
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: same-origin"""

UPLOAD = """\
POST /upload HTTP/1.1
Host: api.example.com
User-Agent: curl/8.5.0
Accept: */*
Content-Type: application/octet-stream
"""
CHUNKED_UPLOAD = UPLOAD + "Transfer-Encoding: chunked"
SIZED_UPLOAD = UPLOAD + "Content-Length: 1048576"

_KIB = bytes(range(256)) * 4

INPUTS = (
    _input("GET, 3 fields", SMALL, b"", b"", "/items/42", b"full=1"),
    _input("GET, 12 fields", BROWSER, b"", b"", "/shop/garden/chairs", b"sort=price&page=2"),
    _input("POST, 64 chunks of 1 KiB", CHUNKED_UPLOAD, _KIB * 64, _chunked(_KIB * 64, 1024), "/upload"),
    _input("POST, 1 MiB", SIZED_UPLOAD, _KIB * 1024, _KIB * 1024, "/upload"),
)

# Not timed: what none of the four has.
CHECKED = (
    *INPUTS,
    _input("percent-encoded", "GET /caf%C3%A9%20au?a=%20 HTTP/1.1\nHost: example.com", b"", b"", "/café au", b"a=%20"),
)
