"""A small application of its own kind: a request comes in whole, a response goes out. The same for every transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from esg_parser import RequestHead
from esg_protocols.settings import Settings

# A body is kept in memory until it is whole, so there must be a limit.
SETTINGS = Settings(limit_request_body=1 << 20)


class Response(NamedTuple):
    """What goes out. The body may be made while it is sent, one part at a time."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: Iterable[bytes]


Handler = Callable[[RequestHead, bytes], Response]


def handle(request: RequestHead, body: bytes) -> Response:
    """Answer one request. Framing is not its affair, nor is leaving the body out of an answer to HEAD."""
    if request.path == "/echo" and request.method == "POST":
        return whole(200, b"application/octet-stream", body)
    if request.method not in ("GET", "HEAD"):
        return whole(405, b"text/plain", b"no such method here\n", (b"allow", b"GET, HEAD"))
    if request.path == "/":
        return whole(200, b"text/plain", b"Hello, world!\n")
    if request.path == "/count":
        return Response(200, [(b"content-type", b"text/plain")], count())
    return whole(404, b"text/plain", b"nothing here\n")


def whole(status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> Response:
    """A response whose length is known."""
    return Response(status, [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *more], [body])


def count() -> Iterator[bytes]:
    """A body of unknown length: chunked to HTTP/1.1, up to the end of the connection to HTTP/1.0."""
    yield from (b"one\n", b"two\n", b"three\n")
