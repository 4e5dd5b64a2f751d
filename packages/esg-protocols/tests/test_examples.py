"""The programs of examples/ on every transport; tests-integration runs them as their own first lines say."""

from __future__ import annotations

import asyncio
import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# The package may stand alone, as its sdist does.
hello = pytest.importorskip("examples.hello")
body, echo, factory, files, instance, stream = (
    pytest.importorskip(f"examples.{name}") for name in ("body", "echo", "factory", "files", "instance", "stream")
)

Play = Callable[..., None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_hello_is_chunked(play: Play) -> None:
    """Its headers are lists in a list, and none of them is a length."""

    async def case(client: Any) -> None:
        for more in (True, False):
            await client.send(GET, more=more)
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"Hello, world!")
            assert answer.headers[:2] == [(b"content-type", b"text/plain"), (b"transfer-encoding", b"chunked")]
            assert answer.header(b"content-length") is None
        await client.nothing_more()

    play(hello.app, case)


def test_hello_to_http_1_0_ends_with_the_connection(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await client.until(lambda: client.ended)
        assert client.received.endswith(b"\r\nconnection: close\r\n\r\nHello, world!")
        assert (await client.answer()).header(b"transfer-encoding") is None

    play(hello.app, case)


def test_instance(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"Hello from an instance!"

    play(instance.app, case)


def test_factory(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == b"Servus"

    monkeypatch.setenv("GREETING", "Servus")
    play(factory.create_app(), case)


def test_echo(play: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b"DELETE /a%20path?query HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer("DELETE")).body == b"DELETE /a path"

    play(echo.app, case)


@pytest.mark.parametrize("sent", [b"", b"some text", bytes(range(256)) * 8], ids=len)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_body(sent: bytes, chunked: bool, play: Play) -> None:
    async def case(client: Any) -> None:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(sent)
        data = b"%x\r\n%s\r\n" % (len(sent), sent) * bool(sent) + b"0\r\n\r\n" if chunked else sent
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % framing + data)
        assert (await client.answer("POST")).body == sent
        await client.nothing_more()

    play(body.app, case)


def test_the_first_part_of_a_stream_comes_before_the_next_is_made(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the program sleeps it waits here until the part before has arrived."""

    async def case(client: Any) -> None:
        turns: asyncio.Queue[None] = asyncio.Queue()
        monkeypatch.setattr(stream, "asyncio", types.SimpleNamespace(sleep=lambda seconds: turns.get()))
        await client.send(GET)
        for part in (b"4\r\none\n\r\n", b"4\r\ntwo\n\r\n", b"6\r\nthree\n\r\n"):
            await client.until(lambda part=part: client.ended or part in client.received)
            await client.settle()
            assert client.received.endswith(part)
            turns.put_nowait(None)
        assert (await client.answer()).body == b"one\ntwo\nthree\n"
        await client.nothing_more()

    play(stream.app, case)


@pytest.mark.parametrize("offered", [True, False], ids=["by the system", "without the extension"])
def test_files_sends_itself(offered: bool, play: Play) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not offered:
            del scope["extensions"]["http.response.pathsend"]
        await files.app(scope, receive, send)

    async def case(client: Any) -> None:
        await client.send(GET)
        assert (await client.answer()).body == Path(files.__file__).read_bytes()

    play(app, case)


def test_files_sends_a_checksum(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(b"GET /sum HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        line = b"x-sha256: " + hashlib.sha256(b"Hello, world!\n").hexdigest().encode()
        await client.until(lambda: client.ended or client.received.endswith(b"\r\n0\r\n" + line + b"\r\n\r\n"))
        assert (await client.answer()).body == b"Hello, world!\n"

    play_steps(files.app, case)


def test_files_sends_a_hint(play_steps: Play) -> None:
    async def case(client: Any) -> None:
        await client.send(GET.replace(b"/ ", b"/page "))
        answer = await client.answer()
        assert (answer.informational, answer.status) == ((103,), 200)

    play_steps(files.app, case)
