"""Trailers, early hints and the readiness of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from esg_protocols.errors import LocalProtocolError

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TE = b"GET / HTTP/1.1\r\nHost: a\r\nTE: deflate;q=0.5, Trailers\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n"
BODY = {"type": "http.response.body", "body": b"hello"}


def start(*headers: tuple[bytes, bytes], **said: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers, **said}


def trailers(*headers: tuple[bytes, bytes], **said: Any) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": headers, **said}


class Sending:
    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = messages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self.messages:
            await send(message)


# -- Trailers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "end"),
    [(TE, b"\r\n0\r\nx-sum: 5\r\nx-more: \r\n\r\n"), (GET, b"\r\n0\r\n\r\n"), (OLD, b"\r\n\r\nhello")],
    ids=["asked for", "not asked for", "1.0"],
)
def test_trailers(request_bytes: bytes, end: bytes, play: Play) -> None:
    app = Sending(
        start(trailers=True), BODY, trailers((b"x-sum", b"5"), more_trailers=True), trailers((b"x-more", b""))
    )

    async def case(client: Any) -> None:
        await client.send(request_bytes)
        await client.until(lambda: client.ended or client.received.endswith(end))
        assert client.received.endswith(end)
        assert (await client.answer()).body == b"hello"

    play(app, case)


def test_the_connection_goes_on_behind_trailers(play_steps: Play) -> None:
    app = Sending(start(trailers=True), BODY, trailers((b"x-sum", b"5")))

    async def case(client: Any) -> None:
        await client.send(TE + GET + TE)
        for answer in await client.answers(["GET"] * 3):
            assert answer.body == b"hello"

    play_steps(app, case)


def test_trailers_behind_a_body_with_a_length(play_steps: Play) -> None:
    """There is no place for them; the app need not know."""
    app = Sending(start((b"content-length", b"5"), trailers=True), BODY, trailers((b"x-sum", b"5")))

    async def case(client: Any) -> None:
        await client.send(TE)
        assert (await client.answer()).body == b"hello"
        await client.nothing_more()

    play_steps(app, case)


def test_trailers_that_never_come(play_steps: Play) -> None:
    app = Sending(start(trailers=True), BODY)

    async def case(client: Any) -> None:
        await client.send(TE)
        assert (await client.end()).endswith(b"5\r\nhello\r\n")
        assert "before its response was complete" in client.take_errors()[0].getMessage()

    play_steps(app, case)


@pytest.mark.parametrize(
    "field",
    [
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"host", b"a"),
        (b"set-cookie", b"a=b"),
        (b"trailer", b"x"),
        (b"x", b"a\r\nb: c"),
        (b"x y", b"a"),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("request_bytes", [TE, GET], ids=["asked for", "not asked for"])
def test_fields_that_cannot_be_trailers(field: tuple[bytes, bytes], request_bytes: bytes, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(trailers=True))
        await send(BODY)
        with pytest.raises(LocalProtocolError):
            await send(trailers((b"x-good", b"1"), field))
        await send(trailers((b"x-sum", b"5")))

    async def case(client: Any) -> None:
        await client.send(request_bytes)
        await client.until(
            lambda: client.ended or client.received.endswith(b"0\r\n\r\n" if request_bytes is GET else b"5\r\n\r\n")
        )
        assert b"x-good" not in client.received

    play_steps(app, case)


def test_the_order_of_trailers(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for due, message in (("start", start(trailers=True)), ("body", {**BODY, "more_body": True})):
            with pytest.raises(LocalProtocolError, match=f"'http.response.trailers' sent where 'http.response.{due}'"):
                await send(trailers())
            await send(message)
        await send(BODY)
        with pytest.raises(
            LocalProtocolError, match=r"'http.response.body' sent where 'http.response.trailers' is due"
        ):
            await send(BODY)
        await send(trailers())
        with pytest.raises(LocalProtocolError, match="after the response was complete"):
            await send(trailers())

    async def case(client: Any) -> None:
        await client.send(TE)
        assert (await client.answer()).body == b"hellohello"

    play_steps(app, case)


def test_trailers_must_be_announced(play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(BODY)
        with pytest.raises(LocalProtocolError):
            await send(trailers())

    async def case(client: Any) -> None:
        await client.send(TE)
        assert (await client.answer()).body == b"hello"

    play_steps(app, case)


# -- Early hints -------------------------------------------------------------------------------------------------------


def hint(*links: Any) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": links}


STYLE = b"</style.css>; rel=preload; as=style"


def test_an_early_hint_comes_before_the_head(play: Play) -> None:
    app = Sending(hint(STYLE), start(), hint(b"</a.js>; rel=preload", STYLE), hint(), BODY)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.ended or client.received.endswith(b"0\r\n\r\n"))
        assert client.received.startswith(
            b"HTTP/1.1 103 Early Hints\r\nlink: %b\r\n\r\n" % STYLE
            + b"HTTP/1.1 103 Early Hints\r\nlink: </a.js>; rel=preload\r\nlink: %b\r\n\r\n" % STYLE
            + b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"
        )
        answer = await client.answer()
        assert (answer.informational, answer.body) == ((103, 103, 103), b"hello")

    play(app, case)


def test_an_early_hint_leaves_at_once(play_steps: Play) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(hint(STYLE))
        await go.wait()
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(GET)
        await client.until(lambda: client.ended or client.received.endswith(b"\r\n\r\n"))
        assert b"200" not in client.received
        go.set()
        assert (await client.answer()).body == b"hello"

    play_steps(app, case)


@pytest.mark.parametrize("request_bytes", [OLD, GET], ids=["HTTP/1.0", "too late"])
def test_an_early_hint_that_nobody_could_read(request_bytes: bytes, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if request_bytes is OLD:
            await send(hint(STYLE))
        await send(start())
        await send({**BODY, "more_body": True})
        await asyncio.sleep(0)  # the head has left
        await send(hint(STYLE))
        await send(BODY)

    async def case(client: Any) -> None:
        await client.send(request_bytes)
        answer = await client.answer()
        assert (answer.informational, answer.body) == ((), b"hellohello")

    play_steps(app, case)


@pytest.mark.parametrize("link", [b"a\r\nset-cookie: b", b"\x00", "text", None])
def test_a_link_that_cannot_be_sent(link: Any, play_steps: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(LocalProtocolError):
            await send(hint(STYLE, link))
        await send(start())
        await send(BODY)
        with pytest.raises(LocalProtocolError, match="after the response was complete"):
            await send(hint(STYLE))

    async def case(client: Any) -> None:
        await client.send(GET)
        answer = await client.answer()
        assert (answer.informational, answer.body) == ((), b"hello")

    play_steps(app, case)


# -- Readiness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_server_answers_whether_it_is_ready(method: str, play: Play) -> None:
    request = f"{method} /ready?why HTTP/1.1\r\nHost: a\r\n\r\n".encode()

    async def case(client: Any) -> None:
        await client.send(request, more=True)
        answer = await client.answer(method)
        assert (answer.status, answer.header(b"cache-control")) == (200, b"no-store")
        assert answer.body == (b"ready" if method == "GET" else b"")
        client.context.draining = True
        await client.send(request)
        answer = await client.answer(method)
        assert (answer.status, answer.header(b"connection")) == (503, b"close")
        await client.end()

    play(Sending(), case, settings={"readiness_path": "/ready"})


def test_a_server_with_too_much_to_do_is_not_ready(play_fake: Play) -> None:
    async def case(client: Any) -> None:
        other = await client.another()
        await client.send(GET.replace(b"/ ", b"/ready "))
        assert (await client.answer()).status == 503
        await other.leave()
        await client.send(GET.replace(b"/ ", b"/ready "))
        assert (await client.answer()).status == 200

    play_fake(Sending(), case, settings={"readiness_path": "/ready", "limit_concurrency": 1})


@pytest.mark.parametrize("request_line", [b"POST /ready", b"GET /ready/", b"GET /Ready"])
def test_other_requests_are_the_apps(request_line: bytes, play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(request_line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer()).body == b"hello"

    play_steps(Sending(start(), BODY), case, settings={"readiness_path": "/ready"})


def test_draining_ends_connections_behind_their_responses(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET, more=True)
        assert (await client.answer()).header(b"connection") is None
        client.context.draining = True
        await client.send(GET)
        assert (await client.answer()).header(b"connection") == b"close"
        await client.end()

    play(Sending(start(), BODY), case)
