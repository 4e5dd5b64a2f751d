"""Applications of every kind are served, and what every response and every request has by option."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

# Python 3.10 can only give a task a copy of a context: what the lifespan sets stays there.
LIFESPAN = "set in lifespan" if sys.version_info >= (3, 11) else "unset"


def ask(server: Any, target: str = "/", **options: Any) -> Any:
    with server.connect() as wire:
        wire.request(target, close=True, **options)
        return wire.answer()


@pytest.mark.parametrize(
    ("app", "arguments", "version"),
    [
        ("asgi3", [], "3.0"),
        ("asgi3", ["--interface", "asgi3"], "3.0"),
        ("ASGI2", [], "2.0"),
        ("asgi2", [], "2.0"),
        ("asgi2", ["--interface", "asgi2"], "2.0"),
        ("make_asgi2", ["--factory"], "2.0"),
    ],
)
def test_asgi(app: str, arguments: list[str], version: str, serve: Any) -> None:
    server = serve(f"kinds:{app}", *arguments, "--lifespan", "on", test_app=True)
    for _ in range(2):
        told = json.loads(ask(server).body)
        assert told == {
            "asgi": {"version": version, "spec_version": "2.5"},
            "variable": LIFESPAN,
            "started": ["started"],
        }


@pytest.mark.parametrize(
    ("app", "arguments"),
    [("wsgi", []), ("WSGI", []), ("wsgi", ["--interface", "wsgi"]), ("make_wsgi", ["--factory"]), ("make_wsgi", [])],
)
def test_wsgi(app: str, arguments: list[str], serve: Any) -> None:
    pytest.importorskip("a2wsgi")
    server = serve(f"kinds:{app}", *arguments, "--root-path", "/api", test_app=True)
    lines = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443")
    answer = ask(server, "/a%20b?c=d", method="POST", headers=lines, body=b"some text")
    assert answer.status == 201
    assert [value for name, value in answer.headers if name == "x-twice"] == ["a", "b"]
    assert json.loads(answer.body) == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/api",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8443",
        "REMOTE_ADDR": "203.0.113.7",
        "HTTP_HOST": "test.example",
        "wsgi.url_scheme": "https",
        "body": "some text",
        "variable": "unset",
    }


def test_wsgi_has_no_websockets(serve: Any) -> None:
    pytest.importorskip("a2wsgi")
    server = serve("kinds:wsgi", test_app=True)
    with pytest.raises(InvalidStatus, match="403"), connect(server.url.replace("http", "ws", 1)):
        pass
    assert ask(server).status == 201


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_wsgi_frameworks(framework: str, serve: Any) -> None:
    pytest.importorskip("a2wsgi")
    pytest.importorskip(framework)
    server = serve("--factory", f"kinds:make_{framework}", test_app=True)
    answer = ask(server, "/hello/you", headers=("X-Forwarded-Proto: https",))
    assert (answer.status, answer.body[:9]) == (200, b"hello you")
    assert answer.body[9:] in (b"", b" test.example True")
    assert ask(server, "/nothing").status == 404
    assert ask(server, "/hello/you", method="HEAD").body == b""


@pytest.mark.parametrize(("arguments", "variable"), [([], LIFESPAN), (["--reset-contextvars"], "unset")])
def test_the_context_of_requests(arguments: list[str], variable: str, serve: Any) -> None:
    server = serve("kinds:asgi3", *arguments, test_app=True)
    assert json.loads(ask(server).body)["variable"] == variable


def values(answer: Any, name: str) -> list[str]:
    return [value for key, value in answer.headers if key == name]


def test_headers_of_every_response(serve: Any) -> None:
    arguments = ["--header", "X-Frame-Options: DENY", "--header", "X-App:every", "--header", "x-app:other"]
    server = serve("kinds:asgi3", *arguments, test_app=True)
    answer = ask(server)
    assert values(answer, "x-frame-options") == ["DENY"]
    # Beside those of the application, as uvicorn does it.
    assert sorted(values(answer, "x-app")) == ["every", "its own", "other"]
    assert (values(answer, "server"), len(values(answer, "date"))) == (["esg"], 1)
    with server.connect() as wire:
        wire.send(b"bad / HTTP/1.1\r\n\r\n")
        answer = wire.answer()
    assert (answer.status, values(answer, "x-frame-options")) == (501, ["DENY"])
    # An application's own Server replaces the default, and nothing else.
    answer = ask(server, "/?server=mine")
    assert (values(answer, "server"), values(answer, "x-frame-options")) == (["mine"], ["DENY"])


def test_headers_of_a_websocket(serve: Any) -> None:
    server = serve("whose:app", "--header", "X-Frame-Options: DENY", "--header", "Server:other", test_app=True)
    with connect(server.url.replace("http", "ws", 1)) as websocket:
        assert websocket.response is not None
        assert websocket.response.headers["X-Frame-Options"] == "DENY"
        assert websocket.response.headers.get_all("Server") == ["other"]


@pytest.mark.parametrize("switch", ["--server-header", "--no-server-header"])
def test_a_server_header_of_ones_own(switch: str, serve: Any) -> None:
    server = serve("kinds:asgi3", "--header", "Server: other", switch, "--no-date-header", test_app=True)
    answer = ask(server)
    assert (values(answer, "server"), values(answer, "date")) == (["other"], [])
    assert values(ask(server, "/?server=mine"), "server") == ["mine"]
    assert len(values(ask(server, "/?date=mine"), "date")) == 1


@pytest.fixture
def streaming(serve: Any) -> Any:
    pytest.importorskip("a2wsgi")
    return serve("kinds:streaming", "--timeout-request", "1", test_app=True, faults=True)


MORE_THAN_THREADS = 12


def test_wsgi_threads_are_freed_when_clients_leave(streaming: Any) -> None:
    for _ in range(MORE_THAN_THREADS):
        with streaming.says("app: closed"), streaming.connect() as wire:
            wire.request("/stream")
            wire.until(b"xxxx")
            wire.reset()
    assert ask(streaming, "/hello").body == b"hello"
    assert not [line for line in streaming.lines if line.startswith("ERROR")]


def test_wsgi_threads_are_freed_when_a_response_goes_wrong(streaming: Any) -> None:
    for _ in range(MORE_THAN_THREADS):
        with streaming.says("app: closed"), streaming.connect() as wire:
            wire.request("/too-much")
            assert b"xxx" not in wire.rest()
    assert ask(streaming, "/hello").body == b"hello"
    streaming.wait_for("The application's response was cut short")


def test_wsgi_threads_are_freed_when_time_is_up(streaming: Any) -> None:
    wires = [streaming.connect() for _ in range(MORE_THAN_THREADS)]
    for wire in wires:
        wire.request("/stream")
    # None of them is read; those that have no thread get an answer too.
    for wire in wires:
        wire.until(b"HTTP/1.1 ")
        wire.rest()
        wire.socket.close()
    assert ask(streaming, "/hello").body == b"hello"


def test_a_body_that_breaks_off_is_not_taken_for_whole(streaming: Any) -> None:
    with streaming.says("app: ClientDisconnected"), streaming.connect() as wire:
        wire.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer().status == 100
        wire.send(b"5\r\nhello\r\n")
    assert ask(streaming, "/upload", method="POST", body=b"some text").body == b"9"
    assert not [line for line in streaming.lines if line.startswith("ERROR")]
