"""Where servers differ in what they take: what a client gets here. docs/strictness.md says why.

esg-parser tests each case by itself, and many more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"

REFUSED = {
    "content-length, then chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST),
    "chunked, then content-length": (400, CHUNKED + b"Content-Length: 5\r\n\r\n" + LAST),
    "two equal content-lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "two content-lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST),
    "chunked in HTTP/1.0": (400, CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n" + LAST),
    "bare LF line ends": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare LF inside chunked": (400, CHUNKED + b"\r\n3\nabc\n0\n\n"),
    "obs-fold": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX-Folded: one\r\n two\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "lower-case method": (501, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "unknown method": (501, b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "raw UTF-8 in the path": (400, "GET /café HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
}

ACCEPTED = {
    "leading CRLF": (b"\r\n" + GET, b"/ a"),
    "absolute-form": (b"GET http://b/path HTTP/1.1\r\nHost: a\r\n\r\n", b"/path b"),
    "no Host in HTTP/1.0": (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"/ "),
    "a later minor version": (GET.replace(b"HTTP/1.1", b"HTTP/1.2"), b"/ a"),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Path and Host of a request, once it is whole; one that is not ends here."""
    message = {"type": "http.request", "more_body": True}
    while message.get("more_body"):
        message = await receive()
    if message["type"] == "http.request":
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        text = b" ".join([scope["raw_path"], b",".join(hosts)])
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


@pytest.mark.parametrize("row", REFUSED)
def test_refused(row: str, play: Play) -> None:
    status, request = REFUSED[row]

    async def case(client: Any) -> None:
        await client.send(request)
        answer = await client.answer()
        assert (answer.status, answer.header(b"connection")) == (status, b"close")
        assert await client.end() == b""
        assert client.context.counters.protocol_errors == 1
        (record,) = client.take_errors()
        assert record.getMessage().startswith("Invalid HTTP request received from ")

    play(app, case)


@pytest.mark.parametrize("row", REFUSED)
def test_refused_behind_an_answer(row: str, play_steps: Play) -> None:
    status, request = REFUSED[row]

    async def case(client: Any) -> None:
        await client.send(GET + request)
        first, second = await client.answers(["GET", "GET"])
        assert (first.status, first.body, second.status) == (200, b"/ a", status)
        assert await client.end() == b""
        client.take_errors()

    play_steps(app, case)


@pytest.mark.parametrize("row", ACCEPTED)
def test_accepted(row: str, play: Play) -> None:
    request, body = ACCEPTED[row]

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(request, more=more)
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, body)
        await client.nothing_more()

    play(app, case)
