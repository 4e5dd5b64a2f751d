"""Requests that do not come in one piece: split at every point, and cut off at every point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

Play = Callable[..., None]

REQUESTS = {
    "GET": b"GET /path%20a?query=%41 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-Two:  two words \r\n\r\n",
    "HEAD": b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute": b"GET http://b.example:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST": b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
    "chunked": b"POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n00C\r\n, all of you\r\n0\r\nTrailer: 1\r\n\r\n",
    "pipeline": b"\r\nPOST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
    b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n",
}
METHODS = {"HEAD": ["HEAD"], "OPTIONS": ["OPTIONS"], "POST": ["POST"], "chunked": ["POST"]}
METHODS |= {"GET": ["GET"], "absolute": ["GET"], "pipeline": ["POST", "GET", "POST"]}


class Echo:
    """An app that keeps what it saw of each request, whole bodies and others."""

    def __init__(self, wait: bool) -> None:
        self.wait = wait
        self.seen: list[Any] = []
        self.whole = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.wait:
            await asyncio.sleep(0)
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            return
        self.whole += 1
        fields = "http_version", "method", "path", "raw_path", "query_string", "headers"
        self.seen.append(([scope[field] for field in fields], body))
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_split_at_any_point(kind: str, wait: bool, play_steps: Play) -> None:
    request, methods, app = REQUESTS[kind], METHODS[kind], Echo(wait)

    async def case(client: Any) -> None:
        await client.send(request)
        whole = await client.answers(methods)
        for cut in range(1, len(request)):
            await client.send(request[:cut], more=True)
            await client.settle()
            await client.send(request[cut:])
            assert [answer.body for answer in await client.answers(methods)] == [answer.body for answer in whole]
        rounds = [app.seen[i : i + len(methods)] for i in range(0, len(app.seen), len(methods))]
        assert rounds == [rounds[0]] * len(request)
        await client.nothing_more()

    play_steps(app, case)


@pytest.mark.parametrize("way", ["leave", "send_eof"])
@pytest.mark.parametrize("kind", ["GET", "POST", "chunked", "pipeline"])
def test_a_request_cut_off_at_any_point(kind: str, way: str, play_steps: Play) -> None:
    """What is not there whole never reaches the app as if it were, and nothing of it stays behind."""
    request, app = REQUESTS[kind], Echo(False)
    ends = [len(request)]
    if kind == "pipeline":
        ends = [request.index(b"GET /2"), request.index(b"POST /3"), *ends]

    async def case(client: Any) -> None:
        for cut in range(len(request)):
            app.whole = 0
            broken = await client.another()
            await broken.send(request[:cut], more=True)
            await client.settle()
            await getattr(broken, way)()
            await client.until(lambda: len(client.context.connections) == 1 and not client.context.tasks)
            assert app.whole == sum(cut >= end for end in ends)
            await broken.close()

    play_steps(app, case)
