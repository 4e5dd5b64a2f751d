"""The programs of examples/transports, as processes: real sockets, and clients that know nothing of them.

The suite that goes through every kind of request, over all of the transports alike, is that of esg-protocols.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from .conftest import PATIENCE, ROOT

MIB = 1 << 20
HELLO = b"Hello, world!\n"
COUNT = b"one\ntwo\nthree\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module", params=["blocking", "over_trio"])
def server(serve_module: Any, request: pytest.FixtureRequest) -> Any:
    """One server for all tests here: what one connection does must not matter to another."""
    return serve_module(f"examples.transports.{request.param}", program="-m", env={"PORT": "0"})


@pytest.fixture
def wire(server: Any) -> Any:
    with server.connect() as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield wire


@pytest.fixture(params=["whole", "bytes"])
def send(request: pytest.FixtureRequest, wire: Any) -> Callable[[bytes], None]:
    """Send in one piece, or byte by byte."""

    def send_bytes(data: bytes) -> None:
        for i in range(len(data)):
            wire.send(data[i : i + 1])

    return wire.send if request.param == "whole" else send_bytes


# -- On the wire


def test_keep_alive(wire: Any, send: Any) -> None:
    for _ in range(3):
        send(GET)
        answer = wire.answer()
        assert (answer.status, answer["connection"], answer.body) == (200, None, HELLO)
        assert answer["date"].endswith(" GMT")


def test_pipelined(wire: Any, send: Any) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ntext"
    send(GET + post + b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    bodies = [wire.answer(method).body for method in ("GET", "POST", "HEAD", "GET", "GET")]
    assert bodies == [HELLO, b"text", b"", COUNT, HELLO]


def test_head(wire: Any, send: Any) -> None:
    send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = wire.answer("HEAD")
    assert (answer.status, answer["content-length"]) == (200, str(len(HELLO)))
    wire.end()
    assert wire.is_over()


def test_chunked_upload(wire: Any, send: Any) -> None:
    send(UPLOAD + b"2\r\nte\r\n2\r\nxt\r\n0\r\n\r\n")
    assert wire.answer().body == b"text"


def test_100_continue(wire: Any) -> None:
    wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert wire.answer().status == 100
    wire.send(b"te")
    wire.send(b"xt")
    assert wire.answer().body == b"text"


@pytest.mark.parametrize("path", ["/", "/count"])
def test_http_1_0(wire: Any, send: Any, path: str) -> None:
    send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = wire.answer()
    assert (answer["connection"], answer["transfer-encoding"]) == ("close", None)
    assert answer.body == (HELLO if path == "/" else COUNT)
    assert wire.is_over()


def test_close_with_a_body_that_comes_later(wire: Any) -> None:
    wire.send(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    assert wire.answer().status == 100
    wire.send(b"text")
    assert wire.answer().body == b"text"
    assert wire.is_over()


def test_a_bad_request(wire: Any, send: Any) -> None:
    send(GET + b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n")
    assert wire.answer().body == HELLO
    answer = wire.answer()
    assert (answer.status, answer["connection"]) == (400, "close")
    assert wire.is_over()


def test_a_refusal_reaches_a_client_that_is_still_sending(wire: Any) -> None:
    wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * MIB) + b"x" * MIB)
    assert wire.answer().status == 413
    assert wire.is_over()


@pytest.mark.parametrize(
    "sent", [b"", GET[:9], UPLOAD, UPLOAD + b"5\r\ntext"], ids=["nothing", "head", "body", "chunk"]
)
def test_the_end_of_the_input_inside_a_request(wire: Any, send: Any, sent: bytes) -> None:
    send(GET + sent)
    wire.end()
    assert wire.answer().body == HELLO
    assert wire.is_over()


# -- httpx


def test_httpx(server: Any) -> None:
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            assert client.get("/").content == HELLO
            assert client.get("/count").content == COUNT
            assert client.head("/").headers["content-length"] == str(len(HELLO))
            assert client.get("/nowhere").status_code == 404
            assert client.delete("/").status_code == 405


@pytest.mark.parametrize("size", [0, 1, 70_000, MIB])
def test_httpx_uploads(server: Any, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with httpx.Client(base_url=server.url) as client:
        for _ in range(2):
            assert client.post("/echo", content=body).content == body
            assert client.post("/echo", content=iter([body[:9], body[9:]])).content == body


def test_many_clients_at_once(server: Any) -> None:
    def ask(number: int) -> bool:
        with httpx.Client(base_url=server.url) as client:
            return all(client.post("/echo", content=b"%d" % number).content == b"%d" % number for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(16)))


# -- Lists of bytes


def test_lists() -> None:
    command = [sys.executable, "-W", "error", "-m", "examples.transports.lists"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 4)
    assert lines[0].startswith("b'HTTP/1.1 200 OK\\r\\n")
    assert lines[0].endswith("4\\r\\none\\n\\r\\n'")
    assert lines[-1] == "b'0\\r\\n\\r\\n'"
