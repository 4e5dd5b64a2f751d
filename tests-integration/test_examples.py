"""Every program of examples/, run as its own first lines say."""

from __future__ import annotations

import hashlib
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from .conftest import ROOT

STEPS = [b"one\n", b"two\n", b"three\n"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["examples.hello:app"], "Hello, world!"),
        (["examples.instance:app"], "Hello from an instance!"),
        (["--factory", "examples.factory:create_app"], "Hello from a factory!"),
        (["examples.wsgi:app"], "Hello from /\n"),
    ],
)
def test_greetings(serve: Any, arguments: list[str], text: str) -> None:
    server = serve(*arguments)
    with httpx.Client() as client:
        for _ in range(2):
            answer = client.get(server.url)
            assert (answer.status_code, answer.text) == (200, text)


def test_hello_is_chunked(serve: Any) -> None:
    server = serve("examples.hello:app")
    server.wait_for("ASGI 'lifespan' protocol appears unsupported.")
    with server.connect() as wire:
        wire.request()
        assert wire.until(b"0\r\n\r\n").endswith(b"\r\n\r\nd\r\nHello, world!\r\n0\r\n\r\n")
        wire.request(version="1.0")
        answer = wire.answer()
        assert (answer["transfer-encoding"], answer.body) == (None, b"Hello, world!")


def test_hello_without_lifespan_is_refused_when_it_is_asked_for(run: Any) -> None:
    import sys

    process = run(sys.executable, "-m", "esg", "--port", "0", "--lifespan", "on", "examples.hello:app")
    assert process.wait() == 3
    process.wait_for("Application startup failed: AssertionError")


def test_factory_reads_the_environment(serve: Any) -> None:
    server = serve("--factory", "examples.factory:create_app", env={"GREETING": "Servus"})
    assert server.get("/").body == b"Servus"


def test_echo(serve: Any) -> None:
    server = serve("examples.echo:app")
    assert httpx.delete(server.url + "/a%20path?query").text == "DELETE /a path"


@pytest.mark.parametrize("body", [b"", b"some text", bytes(range(256)) * 4096])
def test_body(serve: Any, body: bytes) -> None:
    server = serve("examples.body:app")
    with httpx.Client() as client:
        assert client.post(server.url, content=body).content == body
        assert client.post(server.url, content=iter([body, b"", body])).content == body + body


def test_stream(serve: Any) -> None:
    server = serve("examples.stream:app")
    with server.connect() as wire:
        wire.request()
        assert wire.head()["transfer-encoding"] == "chunked"
        assert [wire.chunk() for _ in STEPS] == STEPS
        assert wire.chunk() == b""


def test_the_first_part_comes_before_the_last_is_made(serve: Any) -> None:
    # stream.py sleeps; here the second part waits until another request lets it go.
    server = serve("wire:app", test_app=True)
    with server.connect() as wire:
        wire.request("/stream?part")
        wire.head()
        assert wire.chunk() == b"first"
        assert server.get("/open?part").body == b"open"
        assert [wire.chunk(), wire.chunk()] == [b"second", b""]


def test_run(serve: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = serve(program="examples/run.py", env={"PORT": str(port)})
    assert server.port == port
    assert server.get("/").body == b"Hello from a program!"


def test_lifespan(serve: Any) -> None:
    server = serve("--lifespan", "on", "examples.lifespan:app")
    assert [server.get("/").body for _ in range(3)] == [b"visit 1", b"visit 2", b"visit 3"]
    assert "closed" not in server.lines
    server.signal(signal.SIGTERM)
    assert server.wait() == server.status
    lines = [line for line in server.lines if line in ("open", "closed") or "running on" in line]
    assert [lines[0], lines[-1], len(lines)] == ["open", "closed", 3]


def test_files(serve: Any) -> None:
    server = serve("examples.files:app")
    assert server.get("/").body == (Path(__file__).parents[1] / "examples/files.py").read_bytes()
    with server.connect() as wire:
        wire.request("/page")
        hint = wire.head()
        assert (hint.status, hint["link"]) == (103, "</style.css>; rel=preload; as=style")
        assert wire.answer().status == 200
        wire.request("/sum", headers=("TE: trailers",))
        digest = hashlib.sha256(b"Hello, world!\n").hexdigest()
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert wire.until(b"\r\n\r\n").endswith(f"0\r\nx-sha256: {digest}\r\n\r\n".encode())


def test_websocket_echo(serve: Any) -> None:
    server = serve("examples.websocket_echo:app")
    assert b"new WebSocket" in server.get("/").body
    with connect(f"ws://127.0.0.1:{server.port}/") as client:
        for message in ("", "text", "t\u00e4xt" * 10_000, b"", bytes(range(256)) * 1000):
            client.send(message)
            assert client.recv() == message


def test_websocket_chat(serve: Any) -> None:
    server = serve("examples.websocket_chat:app")
    url = f"ws://127.0.0.1:{server.port}/"
    with pytest.raises(InvalidStatus) as refused:
        connect(url)
    assert refused.value.response.status_code == 403
    with connect(url + "?name=Ada") as ada:
        assert ada.recv() == "Ada is here"
        with connect(url + "?name=Bob") as bob:
            assert ada.recv() == bob.recv() == "Bob is here"
            bob.send("Hello!")
            assert ada.recv() == bob.recv() == "Bob: Hello!"
        assert ada.recv() == "Bob has left"
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            ada.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012


def test_the_test_of_hello(run: Any) -> None:
    import sys

    text = (ROOT / "examples/test_hello.py").read_text()
    assert text[text.index("import") :] in (ROOT / "docs/guide.md").read_text()
    process = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "examples/test_hello.py")
    assert process.wait() == 0, process.told()
    process.wait_for("1 passed")
